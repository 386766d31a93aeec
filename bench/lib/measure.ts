// One measurement: a load, the CPU time of everybody who took part, and proof of the path.
import { setTimeout as delay } from "node:timers/promises";
import type { Carriage, Peer } from "./peers.ts";
import type { Sample } from "./rounds.ts";
import type { Workspace } from "./workspace.ts";

/** What a load did, as far as every kind of load knows it. */
export interface LoadResult {
  /** Requests answered. */
  readonly requests: number;
  /** Its other figures, kept as they are. */
  readonly sample: Sample;
}

/** A sample, and why it must not be used in a ratio, if so. */
export interface Measured {
  readonly sample: Sample;
  readonly refusal?: string;
}

/** Options of {@link measure}. */
export interface MeasureOptions {
  readonly peer: Peer;
  /** Connections that the load opens; Shimmy's counters must show as many. */
  readonly connections: number;
  readonly load: () => Promise<LoadResult>;
}

/** Roles whose CPU time stands beside every figure, and the names of their metrics. */
const ROLES = [
  ["load", "loadCpuUs"],
  ["app", "appCpuUs"],
] as const;
/** Sidecars publish native counters as they are; connections just closed need a moment to count. */
const COUNTERS_SETTLE_MS = 50;

/** Runs a load against a peer. */
export async function measure(
  workspace: Workspace,
  { peer, connections, load }: MeasureOptions,
): Promise<Measured> {
  const carriedBefore = await peer.carriage?.();
  const before = readCpu(workspace, peer);
  const { requests, sample } = await load();
  const after = readCpu(workspace, peer);
  const refusal = await findRefusal(peer, carriedBefore, connections);
  const perRequest = Object.fromEntries(
    Object.entries(after).map(([name, micros]) => [
      name,
      (micros - (before[name] ?? 0)) / requests,
    ]),
  );
  const cpuUs = Object.values(perRequest).reduce((sum, micros) => sum + micros, 0);
  return {
    sample: { ...sample, cpuUs, ...perRequest },
    ...(refusal === undefined ? {} : { refusal }),
  };
}

function readCpu(workspace: Workspace, peer: Peer): Readonly<Record<string, number>> {
  const shared = ROLES.map(([role, metric]) => [metric, workspace.cpu.role(role).usageMicros()]);
  const proxyCpuUs = peer.role?.usageMicros() ?? 0;
  return { ...(Object.fromEntries(shared) as Record<string, number>), proxyCpuUs };
}

async function findRefusal(
  peer: Peer,
  before: Carriage | undefined,
  connections: number,
): Promise<string | undefined> {
  if (peer.carriage === undefined || before === undefined) return undefined;
  await delay(COUNTERS_SETTLE_MS);
  const after = await peer.carriage();
  return whyNotCarried(before, after, connections);
}

/** Why counters from before and after do not prove that shared memory carried the connections. */
export function whyNotCarried(
  before: Carriage,
  after: Carriage,
  connections: number,
): string | undefined {
  const carried = after.carried - before.carried;
  const fellBack = after.fellBack - before.fellBack;
  if (fellBack > 0) return `${fellBack} connections fell back to TCP`;
  if (carried < connections) return `${carried} of ${connections} connections were carried`;
  return undefined;
}
