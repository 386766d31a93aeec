// What do parallel producers and consumers cost, over lock-based channels and over TCP? The paper's
// Figures 5 and 6.
//
// 1 to 12 sessions at once, each a producer and a consumer in processes of their own that move
// 10,000 messages of 10,000 B as fast as they can. Messages are made anew each time, and consumers
// look at every byte. Counted from the first message to the last, set-up not included.
import { join } from "node:path";
import type { Bench, Outcome } from "./lib/bench.ts";
import { startChannelAgent } from "./lib/channel-agent.ts";
import { type FlowFigures, FlowRunner } from "./lib/flow.ts";
import { buildNative } from "./lib/native.ts";
import type { BenchOptions } from "./lib/options.ts";
import { rotate, type Sample, Samples } from "./lib/rounds.ts";
import { Workspace } from "./lib/workspace.ts";
import {
  cellName,
  computeFig56Ratios,
  FIG56_TARGETS,
  type Language,
  type Peer,
  PEERS,
  QUICK_SESSIONS,
  SESSIONS,
} from "./fig56/cells.ts";

const SIZE = 10_000;
const COUNTS = {
  native: { full: 10_000, quick: 10_000 },
  ts: { full: 10_000, quick: 2000 },
} as const;
const TS_PROGRAM = join(import.meta.dirname, "fig56/ts-flow.ts");
const KIB = 1024;
const MEANS = {
  tcp: ["tcp", "copy"],
  lock_copy: ["lock", "copy"],
  lock_loan: ["lock", "loan"],
} as const;

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "fig56", run };

async function run(options: BenchOptions): Promise<Outcome> {
  const program = buildNative("channel_flow");
  const workspace = new Workspace();
  const samples = new Samples();
  const peers = PEERS.filter((peer) => options.only?.includes(peer) ?? true);
  const all = options.isQuick ? QUICK_SESSIONS : SESSIONS;
  try {
    const runner = new FlowRunner(workspace, await startChannelAgent(workspace));
    const stream = async (language: Language, sessions: number, peer: Peer): Promise<Sample> => {
      const [transport, moving] = MEANS[peer];
      const figures = await runner.run({
        argv: language === "ts" ? [process.execPath, TS_PROGRAM] : [program],
        transport,
        moving,
        sessions,
        size: SIZE,
        count: COUNTS[language][options.isQuick ? "quick" : "full"],
      });
      return toSample(figures, sessions);
    };
    // Pages of programs and libraries are charged to whoever comes first.
    for (const peer of peers) await stream("native", 1, peer);
    const cells = (["native", "ts"] as const).flatMap((language) =>
      all[language].map((sessions) => ({ language, sessions })),
    );
    for (let round = 0; round < options.rounds; round++) {
      process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
      const runs = cells.flatMap((cell) => rotate(peers, round).map((peer) => ({ ...cell, peer })));
      for (const { language, sessions, peer } of runs) {
        const key = { scenario: cellName(language, sessions), regime: "idle", peer } as const;
        samples.add(key, await stream(language, sessions, peer));
      }
    }
  } finally {
    await workspace.close();
  }
  return {
    rows: samples.rows(),
    ratios: computeFig56Ratios(samples),
    figures: {},
    targets: FIG56_TARGETS,
    notes: [
      `CPU time of all processes of both sides, per message, is counted by ${workspace.cpu.source}`,
      "memory per session: the most that the cgroup of all its processes held at once, with the kernel's objects, the queues of sockets and the pages of channels, without pages of files; divided by the sessions",
      "by loan: messages are made and looked at in shared memory; by copy: in the program's own buffers, as with TCP",
      "TCP with the kernel's own sizes of buffers and TCP_NODELAY",
    ],
  };
}

function toSample(figures: FlowFigures, sessions: number): Sample {
  const { sent, seconds, cpuMicros, peak, usual } = figures;
  return {
    cpuUs: cpuMicros / sent,
    cpuShare: cpuMicros / 1e6 / seconds,
    perSecond: sent / seconds,
    sessionKib: peak.totalBytes / sessions / KIB,
    usualSessionKib: usual.totalBytes / sessions / KIB,
    socketKib: peak.socketBytes / sessions / KIB,
  };
}
