// Publishes pictures to whoever subscribes, written in place: publish-frames.ts TOPIC COUNT
import { setTimeout as delay } from "node:timers/promises";
import { ShimmyClient } from "shimmy";

const [topic = "frames", count = "50"] = process.argv.slice(2);
const FRAME_BYTES = 240 * 160 * 3;

await using client = await ShimmyClient.connect();
const publisher = await client.publisher(topic, {
  parameters: { blocks: 2048, blockBytes: 4096, timeToLiveMs: 1000 },
});
for (let i = 0; i < Number(count); i++) {
  using room = await publisher.reserve(FRAME_BYTES);
  room.bytes.fill(i % 256);
  room.commit();
  await delay(5);
}
publisher.end();
