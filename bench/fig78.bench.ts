// What does the way of video frames from a producer to a consumer cost, over a lock-based channel and
// over TCP? The paper's Figures 7 and 8.
//
// A real H.264 video of 3 minutes is decoded, sent frame by frame and encoded again, as fast as it
// goes, and the file that comes out is played. Codecs run in processes and cgroups of their own. So
// that their noise does not drown what a transport adds, frames are also replayed without a codec,
// 50 times as fast as they play. Whatever the same work takes without a transport is subtracted.
import type { Bench, Outcome } from "./lib/bench.ts";
import { startChannelAgent } from "./lib/channel-agent.ts";
import { type FlowFigures, FlowRunner } from "./lib/flow.ts";
import { buildNative } from "./lib/native.ts";
import type { BenchOptions } from "./lib/options.ts";
import { rotate, type Sample, Samples } from "./lib/rounds.ts";
import { Workspace } from "./lib/workspace.ts";
import { computeFig78Ratios, FIG78_TARGETS, type Peer, PEERS, SCENARIOS } from "./fig78/keys.ts";
import { FRAME_RATE, frameBytes, type FrameSize, Video } from "./fig78/video.ts";

const SMALL: FrameSize = [240, 160];
const LARGE: FrameSize = [1920, 1080];
const SECONDS = { full: 180, quick: 30 } as const;
const REPLAYED = { full: 180 * FRAME_RATE, quick: 60 * FRAME_RATE } as const;
const LARGE_REPLAYED = { full: 15 * FRAME_RATE, quick: 5 * FRAME_RATE } as const;
const FILED_FRAMES = { small: 240, large: 24 } as const;
const SPEED = { small: 50, large: 5 } as const;
/** Frames that a channel holds: one is made, one waits, one is looked at. */
const HELD_FRAMES = 3;
/** Of a frame of 1920x1080. */
const LARGE_FRAME_BLOCKS = 4;
const PAGE_BYTES = 4096;
const KIB = 1024;
const MEANS = {
  none: ["none", "copy"],
  tcp: ["tcp", "copy"],
  lock_copy: ["lock", "copy"],
  lock_loan: ["lock", "loan"],
} as const;

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "fig78", run };

/** Frames to be sent. */
interface Work {
  readonly scenario: string;
  readonly size: FrameSize;
  readonly frames: number;
  /** Arguments of the program that say where frames come from. */
  readonly argv: readonly string[];
  readonly output?: string;
}

async function run(options: BenchOptions): Promise<Outcome> {
  const program = buildNative("channel_flow");
  const workspace = new Workspace();
  const samples = new Samples();
  const peers = PEERS.filter((peer) => options.only?.includes(peer) ?? true);
  try {
    const video = new Video(workspace);
    const works = await prepare(workspace, video, options);
    const runner = new FlowRunner(workspace, await startChannelAgent(workspace));
    const send = async (work: Work, peer: Peer): Promise<Sample> => {
      const [transport, moving] = MEANS[peer];
      const { size, frames: count, argv, output } = work;
      const codec = workspace.cpu.role("codec");
      const before = codec.usageMicros();
      const figures = await runner.run({
        argv: [program, ...argv, ...channelSize(size)],
        transport,
        moving,
        sessions: 1,
        size: frameBytes(size),
        count,
      });
      if (output !== undefined) await video.requirePlays(output, count);
      return toSample(figures, codec.usageMicros() - before);
    };
    for (let round = 0; round < options.rounds; round++) {
      process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
      const runs = works.flatMap((work) => rotate(peers, round).map((peer) => ({ work, peer })));
      for (const { work, peer } of runs) {
        const key = { scenario: work.scenario, regime: "idle", peer } as const;
        samples.add(key, await send(work, peer));
      }
    }
  } finally {
    await workspace.close();
  }
  return {
    rows: samples.rows(),
    ratios: computeFig78Ratios(samples),
    figures: {},
    targets: FIG78_TARGETS,
    notes: [
      `CPU time per frame of producer and consumer, the kernel's included and codecs' not, is counted by ${workspace.cpu.source}`,
      "memory: the most that the cgroup of producer and consumer held at once, with the kernel's objects, the queues of sockets and the pages of the channel, without pages of files",
      "while the encoder is behind, TCP queues what its buffers hold, by the kernel's own sizes, and a channel three frames",
      "every encoded file was played to its end: as many frames and seconds as the original",
    ],
  };
}

async function prepare(
  workspace: Workspace,
  video: Video,
  { isQuick }: BenchOptions,
): Promise<readonly Work[]> {
  const length = isQuick ? "quick" : "full";
  const names = { small: "small.mp4", large: "large.mp4", output: "encoded.mp4" };
  const path = (name: string): string => workspace.path(name);
  const files = { small: path("small.yuv"), large: path("large.yuv") };
  await video.make(path(names.small), SMALL, SECONDS[length]);
  await video.make(path(names.large), LARGE, FILED_FRAMES.large / FRAME_RATE);
  await video.decodeTo(files.small, path(names.small), FILED_FRAMES.small);
  await video.decodeTo(files.large, path(names.large), FILED_FRAMES.large);
  const output = path(names.output);
  const decoder = video.decoder(path(names.small));
  const replay = (file: string, speed: number): readonly string[] => [
    ...["--frames", file, "--rate", String(speed * FRAME_RATE)],
  ];
  return [
    {
      scenario: SCENARIOS.codec,
      size: SMALL,
      frames: SECONDS[length] * FRAME_RATE,
      argv: ["--from", decoder, "--to", video.encoder(output, SMALL)],
      output,
    },
    {
      scenario: SCENARIOS.replay,
      size: SMALL,
      frames: REPLAYED[length],
      argv: replay(files.small, SPEED.small),
    },
    {
      scenario: SCENARIOS.large,
      size: LARGE,
      frames: LARGE_REPLAYED[length],
      argv: replay(files.large, SPEED.large),
    },
  ];
}

function channelSize(size: FrameSize): readonly string[] {
  const perFrame = size === LARGE ? LARGE_FRAME_BLOCKS : 1;
  // Whole pages: else a region has more blocks than were asked for, until they are.
  const blockBytes = Math.ceil(frameBytes(size) / perFrame / PAGE_BYTES) * PAGE_BYTES;
  return ["--block-bytes", String(blockBytes), "--blocks", String(HELD_FRAMES * perFrame)];
}

function toSample(figures: FlowFigures, codecMicros: number): Sample {
  const { sent, seconds, cpuMicros, peak } = figures;
  return {
    cpuUs: cpuMicros / sent,
    codecCpuUs: codecMicros / sent,
    perSecond: sent / seconds,
    sleeps: figures.sleeps / sent,
    wakes: (figures.wakes + figures.bells) / sent,
    memoryKib: peak.totalBytes / KIB,
    socketKib: peak.socketBytes / KIB,
  };
}
