// What each peer is put through in each round.
import type { BenchOptions } from "../lib/options.ts";
import type { LoadResult } from "../lib/measure.ts";
import {
  type Latency,
  type RedisFigures,
  runHttpLoad,
  runRedisBenchmark,
  runWrk,
} from "../lib/loads.ts";
import type { Peer, Target } from "../lib/peers.ts";
import type { Regime } from "../lib/result.ts";
import type { Sample } from "../lib/rounds.ts";
import type { Workspace } from "../lib/workspace.ts";

/** One load in one regime. */
export interface Scenario {
  readonly name: string;
  readonly regime: Regime;
  /** Connections that it opens, at the least. */
  readonly connections: number;
  /** Part of `--quick`: a key is computed from it. */
  readonly isKey: boolean;
  /** Whether the peer can carry it. */
  readonly canRun: (peer: Peer) => boolean;
  readonly run: (workspace: Workspace, peer: Peer) => Promise<LoadResult>;
}

/** Names of the scenarios that keys are computed from. */
export const KEY_SCENARIOS = {
  latency: "latency 43 B c=1",
  throughput: "http 43 B c=32",
  bandwidth: "http 1 MB c=4",
  connections: "connection per request c=32",
} as const;

/** Requests a second of the open loop: what every peer can serve on a slow machine. */
const OPEN_LOOP_RATE = 2000;
const OPEN_LOOP_CONNECTIONS = 16;

/** All scenarios of a run, in order. */
export function listScenarios(options: BenchOptions, httpLoad: string): readonly Scenario[] {
  const seconds = options.isQuick ? 1 : 2;
  const latencyMs = options.isQuick ? 500 : 2000;
  const all = [
    ...(["idle", "busy"] as const).flatMap((regime) => [
      closedLoop(httpLoad, regime, latencyMs),
      http({ label: "43 B", path: "/43b", connections: 32, regime, seconds }),
      openLoop(httpLoad, regime, latencyMs),
    ]),
    ...GRID.map(([label, path, connections]) =>
      http({ label, path, connections, regime: "idle", seconds }),
    ),
    connectionPerRequest(seconds),
    ...REDIS_CELLS.map(redis),
  ];
  return options.isQuick ? all.filter(({ isKey }) => isKey) : all;
}

/** Body, path and connections; 43 B at c=32 is listed apart because it runs in both regimes. */
const GRID = [
  ["43 B", "/43b", 1],
  ["43 B", "/43b", 256],
  ["10 kB", "/10kb", 1],
  ["10 kB", "/10kb", 32],
  ["10 kB", "/10kb", 256],
  ["1 MB", "/1mb", 1],
  ["1 MB", "/1mb", 4],
  ["1 MB", "/1mb", 32],
  ["1 MB", "/1mb", 256],
] as const;

interface RedisCell {
  readonly clients: number;
  readonly pipeline: number;
  /** redis-benchmark counts requests, not seconds: a quarter of a second or more on loopback. */
  readonly requests: number;
}

const REDIS_CELLS: readonly RedisCell[] = [
  { clients: 1, pipeline: 1, requests: 20_000 },
  { clients: 32, pipeline: 1, requests: 100_000 },
  { clients: 1, pipeline: 16, requests: 200_000 },
  { clients: 32, pipeline: 16, requests: 800_000 },
];

interface HttpCell {
  readonly label: string;
  readonly path: string;
  readonly connections: number;
  readonly regime: Regime;
  readonly seconds: number;
}

function http({ label, path, connections, regime, seconds }: HttpCell): Scenario {
  const name = `http ${label} c=${connections}`;
  const keys: readonly string[] = Object.values(KEY_SCENARIOS);
  return {
    name,
    regime,
    connections,
    isKey: regime === "idle" && keys.includes(name),
    canRun: () => true,
    async run(workspace, { http: target }) {
      const result = await runWrk(workspace, { target, path, connections, seconds });
      const { perSecond, bytesPerSecond, requests } = result;
      return { requests, sample: { perSecond, mbPerSecond: bytesPerSecond / 1e6 } };
    },
  };
}

function connectionPerRequest(seconds: number): Scenario {
  const connections = 32;
  return {
    name: KEY_SCENARIOS.connections,
    regime: "idle",
    connections,
    isKey: true,
    canRun: () => true,
    async run(workspace, { http: target }) {
      const { perSecond, requests } = await runWrk(workspace, {
        ...{ target, path: "/43b", connections, seconds },
        isConnectionPerRequest: true,
      });
      return { requests, sample: { perSecond } };
    },
  };
}

function closedLoop(program: string, regime: Regime, durationMs: number): Scenario {
  return {
    name: KEY_SCENARIOS.latency,
    regime,
    connections: 1,
    isKey: true,
    canRun: () => true,
    async run(workspace, { http: target }) {
      const options = { program, target, path: "/43b", connections: 1, durationMs };
      return toResult(await runHttpLoad(workspace, options));
    },
  };
}

function openLoop(program: string, regime: Regime, durationMs: number): Scenario {
  const connections = OPEN_LOOP_CONNECTIONS;
  const rate = OPEN_LOOP_RATE;
  return {
    name: `open loop 43 B ${rate}/s c=${connections}`,
    regime,
    connections,
    isKey: false,
    canRun: () => true,
    async run(workspace, { http: target }) {
      const options = { program, target, path: "/43b", connections, durationMs, rate };
      const latency = await runHttpLoad(workspace, options);
      return toResult(latency, { unanswered: latency.unanswered });
    },
  };
}

function toResult(latency: Latency, extra: Sample = {}): LoadResult {
  const { p50Us, p99Us, p999Us, maxUs, perSecond, requests } = latency;
  return { requests, sample: { p50Us, p99Us, p999Us, maxUs, perSecond, ...extra } };
}

function redis({ clients, pipeline, requests }: RedisCell): Scenario {
  return {
    name: `redis c=${clients} pipeline=${pipeline}`,
    regime: "idle",
    connections: clients,
    isKey: false,
    canRun: (peer) => peer.redis !== undefined,
    async run(workspace, peer) {
      const target = peer.redis as Target;
      const options = { target, clients, pipeline, requests };
      const figures = await runRedisBenchmark(workspace, options);
      const entries = Object.entries(figures);
      return { requests: requests * entries.length, sample: redisSample(entries) };
    },
  };
}

function redisSample(
  entries: readonly (readonly [string, RedisFigures])[],
): Readonly<Record<string, number>> {
  return Object.fromEntries(
    entries.flatMap(([test, { perSecond, p50Us }]) => [
      [`${test.toLowerCase()}PerSecond`, perSecond],
      [`${test.toLowerCase()}P50Us`, p50Us],
    ]),
  );
}
