import { formatCount, formatMicros, renderTable, type Column } from "../table.ts";
import { runToEnd } from "./programs.ts";
import type { Scene } from "./scene.ts";
import { meanResult, parseWrk, wrkWords, type Workload, type WrkResult } from "./wrk.ts";

/** One kind of requests, over both ways, and what the client's sidecar counted meanwhile. */
export interface Comparison {
  readonly workload: Workload;
  readonly direct: WrkResult;
  readonly shimmy: WrkResult;
  /** Connections the sidecar carried by shared memory. */
  readonly byShm: number;
  /** Connections it carried by TCP. */
  readonly byTcp: number;
}

/** What the demo compares; the first one alone with `--quick`. */
export const WORKLOADS: readonly Workload[] = [
  { title: "17 B answers", path: "/hello", connections: 16, isConnectionPerRequest: false },
  { title: "64 KiB answers", path: "/large", connections: 16, isConnectionPerRequest: false },
  {
    title: "17 B, a connection each",
    path: "/hello",
    connections: 16,
    isConnectionPerRequest: true,
  },
];

const SECONDS = 1;

/** Runs one kind of requests over both ways, by turns. */
export async function compare(
  scene: Scene,
  workload: Workload,
  rounds: number,
): Promise<Comparison> {
  const before = await scene.clientTraffic();
  const direct: WrkResult[] = [];
  const shimmy: WrkResult[] = [];
  for (let round = 0; round < rounds; round++) {
    direct.push(await runWrk(scene, workload, scene.direct));
    shimmy.push(await runWrk(scene, workload, scene.shimmy));
  }
  const after = await scene.clientTraffic();
  return {
    workload,
    direct: meanResult(direct),
    shimmy: meanResult(shimmy),
    byShm: after.shm.outbound - before.shm.outbound,
    byTcp: after.tcp.outbound - before.tcp.outbound,
  };
}

async function runWrk(scene: Scene, workload: Workload, host: string): Promise<WrkResult> {
  const words = wrkWords(workload, { program: scene.programs.wrk, host, seconds: SECONDS });
  return parseWrk((await runToEnd(scene.workspace, "wrk", words)).join("\n"));
}

const COLUMNS: readonly Column[] = [
  { title: "REQUESTS" },
  { title: "DIRECT TCP", align: "right" },
  { title: "SHIMMY", align: "right" },
  { title: "DIRECT p50", align: "right" },
  { title: "SHIMMY p50", align: "right" },
  { title: "CONNECTIONS BY SHM", align: "right" },
  { title: "TCP", align: "right" },
];

/** Both ways side by side. */
export function comparisonTable(comparisons: readonly Comparison[]): string[] {
  const rows = comparisons.map(({ workload, direct, shimmy, byShm, byTcp }) => [
    workload.title,
    `${formatCount(direct.requestsPerSecond)}/s`,
    `${formatCount(shimmy.requestsPerSecond)}/s`,
    formatMicros(direct.p50Micros),
    formatMicros(shimmy.p50Micros),
    formatCount(byShm),
    formatCount(byTcp),
  ]);
  return renderTable(COLUMNS, rows);
}
