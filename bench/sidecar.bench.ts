// What does Shimmy's sidecar path give and cost, against the pairs of proxies that a mesh puts
// between two pods, and against no mesh at all?
import { startApps } from "./lib/apps.ts";
import type { Bench, Outcome } from "./lib/bench.ts";
import { findEnvoy } from "./lib/envoy.ts";
import { firstLine } from "./lib/machine.ts";
import { measure } from "./lib/measure.ts";
import { buildNative } from "./lib/native.ts";
import type { BenchOptions } from "./lib/options.ts";
import { directPeer, type Peer, PROXY_NAMES, startProxyPair } from "./lib/peers.ts";
import { inRegime } from "./lib/regime.ts";
import type { Target } from "./lib/result.ts";
import { rotate, Samples } from "./lib/rounds.ts";
import { POD_ADDRESSES, startShimmy } from "./lib/shimmy.ts";
import { spread } from "./lib/stats.ts";
import { Workspace } from "./lib/workspace.ts";
import { type IdleFigures, measureIdle } from "./sidecar/idle.ts";
import { computeRatios, FIGURES, RATIOS } from "./sidecar/keys.ts";
import { listScenarios, type Scenario } from "./sidecar/scenarios.ts";

const SHIMMY_PEERS = [{ name: "shimmy" }, { name: "shimmy_nospin", spinMicros: 0 }] as const;
const IDLE_WINDOW_MS = { full: 5000, quick: 2000 } as const;

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "sidecar", run };

async function run(options: BenchOptions): Promise<Outcome> {
  // Before anything is started: a compiler cannot be interrupted.
  const httpLoad = buildNative("http_load");
  const workspace = new Workspace();
  try {
    return await runIn(workspace, options, httpLoad);
  } finally {
    await workspace.close();
  }
}

async function runIn(
  workspace: Workspace,
  options: BenchOptions,
  httpLoad: string,
): Promise<Outcome> {
  const notes = [
    `CPU time is counted by ${workspace.cpu.source}`,
    "no process is pinned; each proxy and each sidecar has one worker thread",
    describePrograms(),
  ];
  const hasRedis = firstLine("redis-server", ["--version"]) !== undefined;
  if (!hasRedis) notes.push("Redis is not installed: its rows are left out");
  await startApps(workspace, [POD_ADDRESSES.server], hasRedis);
  const peers = await startPeers(workspace, options, notes);
  const samples = new Samples();
  const scenarios = listScenarios(options, httpLoad);
  const idle: IdleFigures[] = [];
  const wantsShimmy = isWanted(options, "shimmy");
  for (let round = 0; round < options.rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
    for (const scenario of scenarios) {
      const order = rotate(peers.filter(scenario.canRun), round);
      await runScenario({ workspace, scenario, peers: order, samples, notes });
    }
    if (wantsShimmy) {
      idle.push(await measureIdle(workspace, IDLE_WINDOW_MS[options.isQuick ? "quick" : "full"]));
    }
  }
  return {
    rows: samples.rows(),
    ratios: computeRatios(samples),
    figures: Object.fromEntries(
      Object.keys(idle[0] ?? {}).map((key) => [key, spread(idle.map((one) => one[key] ?? NaN))]),
    ),
    targets: [...RATIOS, ...FIGURES].map(({ key, title, bound }: Target) => ({
      key,
      title,
      bound,
    })),
    notes,
  };
}

// Each prints its version in a form of its own: its name and the first number with dots is kept.
function describePrograms(): string {
  const programs = {
    HAProxy: "haproxy -v",
    nginx: "nginx -v",
    Envoy: `${findEnvoy() ?? "envoy"} --version`,
    wrk: "wrk -v",
    Redis: "redis-server --version",
  };
  const versions = Object.entries(programs).map(([name, command]) => {
    const text = firstLine("sh", ["-c", `${command} 2>&1 | tr '\\n' ' '`]) ?? "";
    return `${name} ${/\d+\.\d+\.\d+/.exec(text)?.[0] ?? "not installed"}`;
  });
  return versions.join(", ");
}

async function startPeers(
  workspace: Workspace,
  options: BenchOptions,
  notes: string[],
): Promise<readonly Peer[]> {
  const peers: Peer[] = [];
  if (isWanted(options, "direct")) peers.push(directPeer(POD_ADDRESSES.server));
  for (const name of PROXY_NAMES.filter((proxy) => isWanted(options, proxy))) {
    const peer = await startProxyPair(workspace, name, POD_ADDRESSES.server);
    if (peer === undefined) notes.push(`${name} is not on this machine: its rows are left out`);
    else peers.push(peer);
  }
  for (const shimmy of SHIMMY_PEERS.filter(({ name }) => isWanted(options, name))) {
    peers.push(await startShimmy(workspace, shimmy));
  }
  return peers;
}

function isWanted({ only }: BenchOptions, peer: string): boolean {
  return only === undefined || only.includes(peer);
}

interface ScenarioRun {
  readonly workspace: Workspace;
  readonly scenario: Scenario;
  readonly peers: readonly Peer[];
  readonly samples: Samples;
  readonly notes: string[];
}

async function runScenario(run: ScenarioRun): Promise<void> {
  const { workspace, scenario, peers, samples, notes } = run;
  const { name, regime, connections } = scenario;
  await inRegime(workspace, regime, async () => {
    for (const peer of peers) {
      const key = { scenario: name, regime, peer: peer.name };
      const load = (): ReturnType<Scenario["run"]> => scenario.run(workspace, peer);
      const { sample, refusal } = await measure(workspace, { peer, connections, load });
      samples.add(key, sample);
      if (refusal === undefined) continue;
      samples.refuse(key);
      notes.push(`no ratio from ${peer.name} in "${name}" (${regime}): ${refusal}`);
    }
  });
}
