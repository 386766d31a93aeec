// Does jobs until there are no more: consume.ts TOPIC
import { ShimmyClient } from "shimmy";

const [topic = "jobs"] = process.argv.slice(2);

await using client = await ShimmyClient.connect();
// Whoever comes first makes the channel.
const consumer = await client.consumer(topic, {
  parameters: { blocks: 1024, blockBytes: 4096 },
});
let done = 0;
for await (const { data } of consumer) {
  JSON.parse(data.toString());
  done++;
}
console.log(`did ${done} jobs`);
