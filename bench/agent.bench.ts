// What does an agent's knowledge of a large cluster cost, and how long does a change of endpoints
// take to reach the sidecars?
//
// 250 pods on the node, 10,000 EndpointSlices of ten endpoints, as many Services. The API server is
// the double of the tests, over HTTP, in a process of its own; the agent's side is dist/.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { FIGURES, type Seen, SIZE } from "./agent/size.ts";
import type { Bench, Outcome } from "./lib/bench.ts";
import type { BenchOptions } from "./lib/options.ts";
import { type Sample, Samples } from "./lib/rounds.ts";
import { spread } from "./lib/stats.ts";
import { type Daemon, Workspace } from "./lib/workspace.ts";

const HERE = import.meta.dirname;
const DIST = join(HERE, "../dist/agent/kubernetes/source.js");
const CHANGES = { full: 1000, quick: 200 } as const;
const PER_SECOND = 20;
/** After the last change. */
const SETTLE_MS = 3000;
const KIB_PER_MIB = 1024;
const PATIENCE_MS = 60_000;
const POLL_MS = 100;
const SERIES = {
  scenario: `${SIZE.localPods} pods, ${SIZE.slices} slices`,
  regime: "idle",
  peer: "shimmy",
} as const;

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "agent", run };

async function run(options: BenchOptions): Promise<Outcome> {
  if (!existsSync(DIST)) throw new Error("dist/ is not there: run `npm run build` first");
  const samples = new Samples();
  for (let round = 0; round < options.rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
    samples.add(SERIES, await runRound(CHANGES[options.isQuick ? "quick" : "full"]));
  }
  const figure = (metric: string): [number, ...number[]] => {
    const [first = Number.NaN, ...rest] = samples.values(SERIES, metric) ?? [];
    return [first, ...rest];
  };
  return {
    rows: samples.rows(),
    ratios: {},
    figures: {
      peak_rss_mib: spread(figure("peakRssMib")),
      endpoint_p99_ms: spread(figure("p99Ms")),
    },
    targets: FIGURES,
    notes: [
      `${PER_SECOND} changes a second of Services that are called, and as many of others; changes are gathered for 100 ms`,
      "messages to sidecars are made and encoded, and not sent: there are no sockets",
    ],
  };
}

async function runRound(changes: number): Promise<Sample> {
  const workspace = new Workspace();
  try {
    const cluster = workspace.start({
      name: "cluster",
      argv: node("agent/cluster.ts", String(changes), String(PER_SECOND)),
    });
    await untilLines(cluster, 1);
    const [server = ""] = linesOf(cluster);
    const agent = workspace.start({ name: "agent", argv: node("agent/follow.ts", server) });
    await delay((changes / PER_SECOND) * 1000);
    await untilLines(cluster, changes + 1);
    await delay(SETTLE_MS);
    if (!agent.isRunning()) throw new Error(readFileSync(agent.logPath, "utf8"));
    return { ...latencies(seenBy(cluster, 1), seenBy(agent, 0)), peakRssMib: peakRssMib(agent) };
  } finally {
    await workspace.close();
  }
}

function node(program: string, ...args: readonly string[]): readonly string[] {
  return [process.execPath, join(HERE, program), ...args];
}

function latencies(made: readonly Seen[], told: readonly Seen[]): Sample {
  const toldAt = new Map(told.map(({ address, at }) => [address, at]));
  const times = made.map(({ address, at }) => {
    const end = toldAt.get(address);
    if (end === undefined) throw new Error(`nobody was told of ${address}`);
    return end - at;
  });
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

/** @throws Error with what the process wrote when it does not write so many lines in time. */
async function untilLines(daemon: Daemon, count: number): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (linesOf(daemon).length < count) {
    if (performance.now() > deadline || !daemon.isRunning()) {
      throw new Error(`waited in vain: ${readFileSync(daemon.logPath, "utf8").slice(-2000)}`);
    }
    await delay(POLL_MS);
  }
}

function linesOf({ logPath }: Daemon): readonly string[] {
  return readFileSync(logPath, "utf8").split("\n").slice(0, -1);
}

function seenBy(daemon: Daemon, from: number): readonly Seen[] {
  return linesOf(daemon)
    .slice(from)
    .map((line) => JSON.parse(line) as Seen);
}

/** The kernel's own high-water mark. */
function peakRssMib({ pid }: Daemon): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(?<kib>\d+)/m.exec(status)?.groups?.["kib"]) / KIB_PER_MIB;
}
