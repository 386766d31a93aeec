// Hands jobs to whoever consumes them, each to one: produce.ts TOPIC COUNT
// SHIMMY_FD_SOCKET names the agent's socket outside of pods.
import { ShimmyClient } from "shimmy";

const [topic = "jobs", count = "10"] = process.argv.slice(2);

await using client = await ShimmyClient.connect();
const producer = await client.producer(topic, {
  parameters: { blocks: 1024, blockBytes: 4096 },
});
for (let i = 0; i < Number(count); i++) {
  await producer.publish(Buffer.from(JSON.stringify({ job: i })));
}
producer.end();
await producer.drain();
console.log(`${count} jobs were consumed`);
