// What does an agent's knowledge of a large cluster cost, and how long does a change of endpoints
// take to reach the sidecars?
//
// 250 pods on the node, 10,000 EndpointSlices of ten endpoints, as many Services. Agent and helper
// are those of a node, and so are the sockets and their peers' attestation: each pod is a process in
// a network namespace and a cgroup of its own. The API server is the double of the tests, over HTTP,
// in a process of its own. Needs root.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { NodeAgent } from "./agent/agent.ts";
import { latenciesOf } from "./agent/latencies.ts";
import { NodePods, type Received } from "./agent/pods.ts";
import { type Change, FIGURES, SERVICES_PER_POD, SIZE } from "./agent/size.ts";
import type { Bench, Outcome } from "./lib/bench.ts";
import type { BenchOptions } from "./lib/options.ts";
import { type Sample, Samples } from "./lib/rounds.ts";
import { spread } from "./lib/stats.ts";
import { type Daemon, Workspace } from "./lib/workspace.ts";

const CHANGES = { full: 1000, quick: 200 } as const;
const PER_SECOND = 20;
const PATIENCE_MS = 90_000;
const POLL_MS = 250;
const SERIES = {
  scenario: `${SIZE.localPods} pods, ${SIZE.slices} slices`,
  regime: "idle",
  peer: "shimmy",
} as const;

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "agent", run };

async function run(options: BenchOptions): Promise<Outcome> {
  if (process.getuid?.() !== 0) throw new Error("needs root, to make namespaces and cgroups");
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
      `each pod is a process in a network namespace of its own, attested by its cgroup, that watches ${SERVICES_PER_POD} Services, reports every 2 s and opens no session`,
      "until told: from the agent's start until every pod knows all its Services; CPU: of the agent, while the changes come",
    ],
  };
}

async function runRound(changes: number): Promise<Sample> {
  const workspace = new Workspace();
  try {
    const cluster = workspace.start({
      name: "cluster",
      argv: [
        process.execPath,
        join(import.meta.dirname, "agent/cluster.ts"),
        ...[changes, PER_SECOND].map(String),
      ],
    });
    await until("the cluster", () => linesOf(cluster).length === 1);
    const [server = ""] = linesOf(cluster);
    const pods = NodePods.start(workspace);
    const startedAt = Date.now();
    const agent = NodeAgent.start(workspace, server);
    const first = await untilAllAreTold(pods, agent);
    const untilToldS = (Math.max(...first.map(({ at }) => at)) - startedAt) / 1000;

    const cpuBefore = agent.cpuMicros;
    const begunAt = performance.now();
    await fetch(`${server}/begin`);
    await delay((changes / PER_SECOND) * 1000);
    await until("all changes", () => linesOf(cluster).length === changes + 1);
    const made = linesOf(cluster)
      .slice(1)
      .map((line) => JSON.parse(line) as Change);
    const cpuShare = (agent.cpuMicros - cpuBefore) / 1000 / (performance.now() - begunAt);
    const times = await untilTold(made, pods, agent);
    return { ...percentiles(times), peakRssMib: agent.peakRssMib, untilToldS, cpuShare };
  } finally {
    await workspace.close();
  }
}

/** @returns What they received until each knew all its Services. */
async function untilAllAreTold(pods: NodePods, agent: NodeAgent): Promise<readonly Received[]> {
  let received: readonly Received[] = [];
  await until(
    "all pods to know their Services",
    () => {
      agent.requireRunning();
      received = pods.received();
      return countServices(received) === SIZE.localPods * SERVICES_PER_POD;
    },
    () => agent.log,
  );
  return received;
}

/** Services with endpoints, of all pods. */
function countServices(received: readonly Received[]): number {
  const known = received.flatMap(({ pod, message }) =>
    message.type === "endpoints"
      ? message.services
          .filter(({ endpoints }) => endpoints.length === SIZE.endpointsPerSlice)
          .map(({ service }) => `${pod} ${service}`)
      : [],
  );
  return new Set(known).size;
}

async function untilTold(
  changes: readonly Change[],
  pods: NodePods,
  agent: NodeAgent,
): Promise<readonly number[]> {
  let times: readonly number[] = [];
  await until("everybody to be told of all changes", () => {
    agent.requireRunning();
    times = latenciesOf(changes, pods.received()).filter((time) => time !== undefined);
    return times.length === changes.length;
  });
  return times;
}

function percentiles(times: readonly number[]): Sample {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

/** @throws Error that says what was waited for, and why in vain, if that is known. */
async function until(what: string, isSo: () => boolean, why = (): string => ""): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}\n${why()}`);
    await delay(POLL_MS);
  }
}

function linesOf({ logPath }: Daemon): readonly string[] {
  return readFileSync(logPath, "utf8").split("\n").slice(0, -1);
}
