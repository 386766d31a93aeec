// Decodes a video with ffmpeg and hands its frames to whoever encodes them:
// send-video.ts TOPIC FILE WIDTHxHEIGHT
// SHIMMY_FD_SOCKET names the agent's socket outside of pods.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { ShimmyClient } from "shimmy";

const [topic = "video", file = "in.mp4", size = "240x160"] = process.argv.slice(2);
const [width = 0, height = 0] = size.split("x").map(Number);
const frameBytes = (width * height * 3) / 2; // planes of 4:2:0
const PAGE_BYTES = 4096;

await using client = await ShimmyClient.connect();
const producer = await client.producer(topic, {
  // One frame a block, of whole pages: one is made, one waits, one is looked at.
  parameters: { blocks: 3, blockBytes: Math.ceil(frameBytes / PAGE_BYTES) * PAGE_BYTES },
});
const decoder = spawn(
  "ffmpeg",
  ["-v", "error", "-nostdin", "-i", file, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"],
  { stdio: ["ignore", "pipe", "inherit"] },
);
const ended = once(decoder, "exit");
let frames = 0;
// Leaving this scope without a commit gives the room back.
async function sendFrame(pieces: AsyncIterator<Buffer>, rest: Buffer): Promise<Buffer | undefined> {
  using room = await producer.reserve(frameBytes);
  let piece = rest;
  for (let filled = 0; ;) {
    const copied = piece.copy(room.bytes, filled);
    filled += copied;
    piece = piece.subarray(copied);
    if (filled === frameBytes) break;
    const next = await pieces.next();
    if (next.done === true) return undefined;
    piece = next.value;
  }
  room.commit();
  frames++;
  return piece;
}
const pieces = decoder.stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
for (let rest: Buffer | undefined = Buffer.alloc(0); rest !== undefined;) {
  rest = await sendFrame(pieces, rest);
}
const [code] = (await ended) as [number | null];
if (code !== 0) throw new Error(`ffmpeg ended with ${code ?? "a signal"}`);
producer.end();
await producer.drain();
console.log(`sent ${frames} frames, ${producer.counters().messages} over the channel`);
