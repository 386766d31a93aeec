// A video made by ffmpeg, its frames, and what plays of what was encoded again.
import { MemoryGroup } from "../lib/memory-group.ts";
import type { Workspace } from "../lib/workspace.ts";

/** Frames a second, as in the paper. */
export const FRAME_RATE = 24;

/** Width and height. */
export type FrameSize = readonly [width: number, height: number];

/** Bytes of a frame in planes of 4:2:0. */
export function frameBytes([width, height]: FrameSize): number {
  return (width * height * 3) / 2;
}

/** Runs ffmpeg, and builds the commands of the two ends, in cgroups of their own. */
export class Video {
  readonly #workspace: Workspace;
  readonly #memory: MemoryGroup | undefined;

  constructor(workspace: Workspace) {
    this.#workspace = workspace;
    const memory = MemoryGroup.make("codec");
    this.#memory = memory;
    workspace.onClose(() => memory?.remove());
  }

  /** Makes an H.264 video of a moving picture. */
  async make(file: string, size: FrameSize, seconds: number): Promise<void> {
    const source = `testsrc2=size=${size.join("x")}:rate=${FRAME_RATE}:duration=${seconds}`;
    const encode = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"];
    await this.#ffmpeg(["-f", "lavfi", "-i", source, ...encode, file]);
  }

  /** Writes decoded frames to a file. */
  async decodeTo(file: string, video: string, frames: number): Promise<void> {
    await this.#ffmpeg(["-i", video, "-frames:v", String(frames), ...RAW, file]);
  }

  /** A shell command that writes decoded frames to its output. */
  decoder(video: string): string {
    return this.#command(["ffmpeg", ...QUIET, "-i", video, ...RAW, "-"]);
  }

  /** A shell command that encodes the frames of its input. */
  encoder(file: string, size: FrameSize): string {
    const input = [...RAW, "-s", size.join("x"), "-r", String(FRAME_RATE), "-i", "-"];
    const output = ["-c:v", "libx264", "-preset", "veryfast", file];
    return this.#command(["ffmpeg", ...QUIET, "-y", ...input, ...output]);
  }

  /**
   * Plays a video from end to end.
   *
   * @throws Error when it has not this many frames, or not this length.
   */
  async requirePlays(file: string, frames: number): Promise<void> {
    const text = await this.#workspace.run({
      name: "ffprobe",
      argv: [
        ...["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0"],
        ...["-show_entries", "stream=nb_read_frames:format=duration", "-of", "json", file],
      ],
    });
    const { streams, format } = JSON.parse(text) as {
      streams: readonly { nb_read_frames: string }[];
      format: { duration: string };
    };
    const played = Number(streams[0]?.nb_read_frames);
    const seconds = Number(format.duration);
    if (played === frames && Math.abs(seconds - frames / FRAME_RATE) < 0.1) return;
    throw new Error(`${file} plays ${played} frames in ${seconds} s, not ${frames}`);
  }

  async #ffmpeg(args: readonly string[]): Promise<void> {
    await this.#workspace.run({ name: "ffmpeg", argv: ["ffmpeg", ...QUIET, "-y", ...args] });
  }

  #command(argv: readonly string[]): string {
    const inMemoryGroup = this.#memory?.wrap(argv) ?? argv;
    const all = this.#workspace.cpu.role("codec").wrap(inMemoryGroup);
    return all.map((argument) => `'${argument.replaceAll("'", "'\\''")}'`).join(" ");
  }
}

const QUIET = ["-v", "error", "-nostdin"] as const;
const RAW = ["-f", "rawvideo", "-pix_fmt", "yuv420p"] as const;
