import { formatCount, formatMicros, renderTable, type Column } from "../table.ts";
import { runToEnd } from "./programs.ts";
import type { Scene } from "./scene.ts";
import { meanResult, parseWrk, wrkWords, type Workload, type WrkResult } from "./wrk.ts";

/** The ways requests take, in the order of the table. */
export const WAYS = ["direct", "overTcp", "shimmy"] as const;

/** One of {@link WAYS}. */
export type Way = (typeof WAYS)[number];

/** One kind of requests over every way, and what the client's sidecar counted. */
export interface Comparison {
  readonly workload: Workload;
  readonly results: Readonly<Record<Way, WrkResult>>;
  /** Connections of `shimmy` that went by shared memory. */
  readonly byShm: number;
  /** Connections of `shimmy` that went by TCP. */
  readonly byTcp: number;
}

/** What the demo compares; the first one alone with `--quick`. */
export const WORKLOADS: readonly Workload[] = [
  { title: "one at a time", path: "/hello", connections: 1, isConnectionPerRequest: false },
  { title: "16 at a time", path: "/hello", connections: 16, isConnectionPerRequest: false },
  { title: "16, 64 KiB each", path: "/large", connections: 16, isConnectionPerRequest: false },
  { title: "16, new connections", path: "/hello", connections: 16, isConnectionPerRequest: true },
];

const SECONDS = 1;

/** Runs one kind of requests over every way, by turns. */
export async function compare(
  scene: Scene,
  workload: Workload,
  rounds: number,
): Promise<Comparison> {
  const results: Record<Way, WrkResult[]> = { direct: [], overTcp: [], shimmy: [] };
  let [byShm, byTcp] = [0, 0];
  for (let round = 0; round < rounds; round++) {
    for (const way of WAYS) {
      const before = await scene.clientTraffic();
      results[way].push(await runWrk(scene, workload, scene[way]));
      const after = await scene.clientTraffic();
      if (way !== "shimmy") continue;
      byShm += after.shm.outbound - before.shm.outbound;
      byTcp += after.tcp.outbound - before.tcp.outbound;
    }
  }
  return {
    workload,
    results: {
      direct: meanResult(results.direct),
      overTcp: meanResult(results.overTcp),
      shimmy: meanResult(results.shimmy),
    },
    byShm,
    byTcp,
  };
}

async function runWrk(scene: Scene, workload: Workload, host: string): Promise<WrkResult> {
  const words = wrkWords(workload, { program: scene.programs.wrk, host, seconds: SECONDS });
  return parseWrk((await runToEnd(scene.workspace, "wrk", words)).join("\n"));
}

const COLUMNS: readonly Column[] = [
  { title: "REQUESTS PER SECOND, MEDIAN TIME" },
  { title: "NO SIDECARS", align: "right" },
  { title: "", align: "right" },
  { title: "SIDECARS, TCP", align: "right" },
  { title: "", align: "right" },
  { title: "SHIMMY", align: "right" },
  { title: "", align: "right" },
  { title: "CONNECTIONS", align: "right" },
];

/** All ways side by side. */
export function comparisonTable(comparisons: readonly Comparison[]): string[] {
  const rows = comparisons.map(({ workload, results, byShm, byTcp }) => [
    workload.title,
    ...WAYS.flatMap((way) => [
      formatCount(results[way].requestsPerSecond),
      formatMicros(results[way].p50Micros),
    ]),
    byTcp === 0 ? `${formatCount(byShm)} shm` : `${formatCount(byShm)} shm, ${byTcp} TCP`,
  ]);
  return renderTable(COLUMNS, rows);
}
