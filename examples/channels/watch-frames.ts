// Looks at pictures where they lie: watch-frames.ts TOPIC
import { ShimmyClient } from "shimmy";

const [topic = "frames"] = process.argv.slice(2);

await using client = await ShimmyClient.connect();
const subscriber = await client.subscriber(topic, {
  start: "oldest",
  parameters: { blocks: 2048, blockBytes: 4096, timeToLiveMs: 1000 },
});
let seen = 0;
let missed = 0;
for (;;) {
  using frame = await subscriber.loan();
  if (frame === undefined) break;
  if (frame.data.every((byte) => byte === frame.data[0])) seen++;
  if (frame.missed !== "unknown") missed += frame.missed;
}
console.log(`saw ${seen} frames, missed ${missed}`);
