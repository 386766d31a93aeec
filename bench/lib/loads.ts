// The load generators: each runs once, against one target, and says what it saw.
import type { Target } from "./peers.ts";
import type { Workspace } from "./workspace.ts";

/** Percentiles in microseconds, and the rate that went with them. */
export interface Latency {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  readonly perSecond: number;
  /** Requests answered, those of the warm-up included: what CPU time is divided by. */
  readonly requests: number;
  /** Requests of the schedule that were not answered by the end. */
  readonly unanswered: number;
}

/** Requests a second over a run, and how many there were. */
export interface Throughput {
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  readonly requests: number;
}

/** Options of {@link runHttpLoad}. */
export interface HttpLoadOptions {
  readonly program: string;
  readonly target: Target;
  readonly path: string;
  readonly connections: number;
  readonly durationMs: number;
  /** Requests a second on a fixed schedule. @defaultValue a closed loop */
  readonly rate?: number;
}

/** Runs `bench/native/http_load`. */
export async function runHttpLoad(
  workspace: Workspace,
  options: HttpLoadOptions,
): Promise<Latency> {
  const { program, target, path, connections, durationMs, rate } = options;
  const text = await workspace.run({
    name: "http_load",
    role: workspace.cpu.role("load"),
    argv: [
      program,
      ...["--host", target.host, "--port", String(target.port), "--path", path],
      ...["--connections", String(connections), "--duration-ms", String(durationMs)],
      ...(rate === undefined ? [] : ["--rate", String(rate)]),
    ],
  });
  return JSON.parse(text) as Latency;
}

/** Options of {@link runWrk}. */
export interface WrkOptions {
  readonly target: Target;
  readonly path: string;
  readonly connections: number;
  /** Whole seconds: wrk knows no fractions. */
  readonly seconds: number;
  /** A new connection for every request. @defaultValue false */
  readonly isConnectionPerRequest?: boolean;
}

/**
 * Runs wrk with one thread.
 *
 * @throws Error when there were errors: a figure with errors in it is not a figure.
 */
export async function runWrk(workspace: Workspace, options: WrkOptions): Promise<Throughput> {
  const { target, path, connections, seconds, isConnectionPerRequest = false } = options;
  const text = await workspace.run({
    name: "wrk",
    role: workspace.cpu.role("load"),
    argv: [
      ...["wrk", "-t1", `-c${connections}`, `-d${seconds}s`],
      ...(isConnectionPerRequest ? ["-H", "Connection: close"] : []),
      `http://${target.host}:${target.port}${path}`,
    ],
  });
  return parseWrk(text);
}

/**
 * Reads wrk's report.
 *
 * @throws Error when it reports errors or cannot be read.
 */
export function parseWrk(text: string): Throughput {
  const errors = /Socket errors:.*|Non-2xx.*/.exec(text);
  if (errors !== null) throw new Error(`wrk saw errors: ${errors[0]}`);
  const summary = /(\d+) requests in ([\d.]+)(us|ms|s|m), ([\d.]+)(B|KB|MB|GB|TB) read/.exec(text);
  const perSecond = /Requests\/sec:\s+([\d.]+)/.exec(text);
  if (summary === null || perSecond === null) throw new Error(`not a report of wrk: ${text}`);
  const [, requests, duration, durationUnit, bytes, bytesUnit] = summary;
  const seconds = Number(duration) * (SECONDS[durationUnit ?? ""] ?? NaN);
  return {
    perSecond: Number(perSecond[1]),
    bytesPerSecond: (Number(bytes) * (BYTES[bytesUnit ?? ""] ?? NaN)) / seconds,
    requests: Number(requests),
  };
}

const SECONDS: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1, m: 60 };
// wrk counts in powers of two: https://github.com/wg/wrk/blob/4.2.0/src/units.c
const BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 2 ** 10,
  MB: 2 ** 20,
  GB: 2 ** 30,
  TB: 2 ** 40,
};

/** Options of {@link runRedisBenchmark}. */
export interface RedisOptions {
  readonly target: Target;
  readonly clients: number;
  readonly pipeline: number;
  readonly requests: number;
}

/** Requests a second and median latency of one Redis command. */
export interface RedisFigures {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Runs redis-benchmark for SET, then GET. */
export async function runRedisBenchmark(
  workspace: Workspace,
  { target, clients, pipeline, requests }: RedisOptions,
): Promise<Readonly<Record<string, RedisFigures>>> {
  const text = await workspace.run({
    name: "redis-benchmark",
    role: workspace.cpu.role("load"),
    argv: [
      ...["redis-benchmark", "-h", target.host, "-p", String(target.port), "-t", "set,get"],
      ...["-c", String(clients), "-P", String(pipeline), "-n", String(requests), "--csv"],
    ],
  });
  return parseRedisBenchmark(text);
}

/**
 * Reads the CSV of redis-benchmark 7: test, rps, avg, min, p50, p95, p99 and max in milliseconds.
 *
 * @throws Error when there are no figures in it.
 */
export function parseRedisBenchmark(text: string): Readonly<Record<string, RedisFigures>> {
  const figures: Record<string, RedisFigures> = {};
  for (const line of text.split("\n")) {
    const [test, ...numbers] = line.split(",").map((cell) => cell.replaceAll('"', ""));
    const [perSecond, , , p50, , p99] = numbers.map(Number);
    if (test === undefined || perSecond === undefined || Number.isNaN(perSecond)) continue;
    figures[test] = { perSecond, p50Us: (p50 ?? NaN) * 1000, p99Us: (p99 ?? NaN) * 1000 };
  }
  if (Object.keys(figures).length === 0)
    throw new Error(`not a report of redis-benchmark: ${text}`);
  return figures;
}
