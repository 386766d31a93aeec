import { ShimmyError } from "../../common/errors.ts";

/** What wrk measured. */
export interface WrkResult {
  readonly requestsPerSecond: number;
  /** Median latency. */
  readonly p50Micros: number;
  readonly requests: number;
}

/** One kind of requests. */
export interface Workload {
  readonly title: string;
  readonly path: string;
  readonly connections: number;
  /** Whether each request has a connection of its own. */
  readonly isConnectionPerRequest: boolean;
}

/** Words of a run of wrk against a port of a host. */
export function wrkWords(
  { path, connections, isConnectionPerRequest }: Workload,
  { program, host, seconds }: { program: string; host: string; seconds: number },
): string[] {
  return [
    ...[program, "-t1", `-c${connections}`, `-d${seconds}s`, "--latency"],
    ...(isConnectionPerRequest ? ["-H", "Connection: close"] : []),
    `http://${host}${path}`,
  ];
}

const MICROS: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1e6, m: 60e6 };

/**
 * Reads wrk's report.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when requests failed, or it is no report.
 */
export function parseWrk(text: string): WrkResult {
  const failed = /Socket errors:.*|Non-2xx.*/.exec(text);
  if (failed !== null) throw new ShimmyError("SHIMMY_ERR_SYSTEM", `wrk: ${failed[0]}`);
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
  const requests = Number(/(\d+) requests in/.exec(text)?.[1]);
  const [, amount, unit = ""] = /50%\s+([\d.]+)(us|ms|s|m)/.exec(text) ?? [];
  const p50Micros = Number(amount) * (MICROS[unit] ?? Number.NaN);
  if ([rate, requests, p50Micros].some(Number.isNaN)) {
    throw new ShimmyError("SHIMMY_ERR_SYSTEM", `this is no report of wrk: ${text.slice(0, 200)}`);
  }
  return { requestsPerSecond: rate, requests, p50Micros };
}

/** The mean of several runs. */
export function meanResult(results: readonly WrkResult[]): WrkResult {
  const mean = (value: (result: WrkResult) => number): number =>
    results.reduce((sum, result) => sum + value(result), 0) / results.length;
  return {
    requestsPerSecond: mean((result) => result.requestsPerSecond),
    p50Micros: mean((result) => result.p50Micros),
    requests: results.reduce((sum, { requests }) => sum + requests, 0),
  };
}
