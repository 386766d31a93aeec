// Encodes the frames of a topic into a file that plays: record-video.ts TOPIC FILE WIDTHxHEIGHT
// SHIMMY_FD_SOCKET names the agent's socket outside of pods.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { ShimmyClient, ShimmyError, type Consumer } from "shimmy";

const [topic = "video", file = "out.mp4", size = "240x160"] = process.argv.slice(2);

await using client = await ShimmyClient.connect();
const consumer = await meet();
const raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", "24", "-i", "-"];
const encoder = spawn("ffmpeg", ["-v", "error", "-y", ...raw, "-c:v", "libx264", file], {
  stdio: ["pipe", "inherit", "inherit"],
});
const ended = once(encoder, "exit");
for (;;) {
  // In place, until ffmpeg has all of it.
  using frame = await consumer.loan();
  if (frame === undefined) break;
  await new Promise<void>((resolve, reject) => {
    encoder.stdin.write(frame.data, (err) => {
      if (err instanceof Error) reject(err);
      else resolve();
    });
  });
}
encoder.stdin.end();
const [code] = (await ended) as [number | null];
if (code !== 0) throw new Error(`ffmpeg ended with ${code ?? "a signal"}`);
console.log(`recorded ${consumer.counters().messages} frames`);

// Who sends makes the channel, because it knows the size of frames.
async function meet(): Promise<Consumer> {
  for (;;) {
    try {
      return await client.consumer(topic);
    } catch (err) {
      if (!(err instanceof ShimmyError) || err.code !== "SHIMMY_ERR_NOT_FOUND") throw err;
      await delay(50);
    }
  }
}
