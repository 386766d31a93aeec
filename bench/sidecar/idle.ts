// What Shimmy costs while nothing happens: a sidecar without traffic, and 1,000 idle connections.
import { setTimeout as delay } from "node:timers/promises";
import { IdleConnections } from "../lib/idle-connections.ts";
import {
  MIB,
  readMemfdBytes,
  readResident,
  readSocketSlabBytes,
  readTcpBytes,
} from "../lib/memory.ts";
import { whyNotCarried } from "../lib/measure.ts";
import { type ShimmyPeer, startShimmy } from "../lib/shimmy.ts";
import type { Workspace } from "../lib/workspace.ts";

/** Figures of one round, by key. */
export type IdleFigures = Readonly<Record<string, number>>;

const CONNECTIONS = 1000;
const SETTLE_MS = 1000;

/**
 * Starts a fresh Shimmy, looks at it without traffic, then with 1,000 idle connections.
 *
 * @throws Error when not all connections were carried by shared memory: the figures would be of
 * something else.
 */
export async function measureIdle(workspace: Workspace, windowMs: number): Promise<IdleFigures> {
  const peer = await startShimmy(workspace, { name: "shimmy_idle" });
  try {
    return await measurePeer(peer, windowMs);
  } finally {
    await peer.stop();
  }
}

async function measurePeer(peer: ShimmyPeer, windowMs: number): Promise<IdleFigures> {
  await delay(SETTLE_MS);
  const quiet = peer.pids.map(readResident);
  const before = readMemory(peer);
  const carriedBefore = await peer.carriage();

  using connections = await IdleConnections.open(peer.http, "/43b", CONNECTIONS);
  const refusal = whyNotCarried(carriedBefore, await peer.carriage(), CONNECTIONS);
  if (refusal !== undefined) throw new Error(`idle connections: ${refusal}`);
  await delay(SETTLE_MS);
  const cpuBefore = peer.role?.usageMicros() ?? NaN;
  await delay(windowMs);
  const cpuMicros = (peer.role?.usageMicros() ?? NaN) - cpuBefore;
  const after = readMemory(peer);
  connections.assertOpen();

  const grown = (name: keyof Memory): number => (after[name] - before[name]) / MIB;
  const figures = {
    idle_1000_rings_mib: after.memfd / MIB,
    idle_rss_mib: Math.max(...quiet.map(({ rssBytes }) => rssBytes)) / MIB,
    idle_anon_mib: Math.max(...quiet.map(({ anonymousBytes }) => anonymousBytes)) / MIB,
    idle_1000_anon_mib: grown("anonymous"),
    idle_1000_tcp_mib: grown("tcp"),
    idle_1000_socket_slab_mib: grown("slab"),
    idle_1000_cpu_ms_per_s: cpuMicros / windowMs,
  };
  return Object.fromEntries(Object.entries(figures).filter(([, value]) => !Number.isNaN(value)));
}

interface Memory {
  readonly memfd: number;
  readonly anonymous: number;
  readonly tcp: number;
  /** NaN where the kernel does not show it. */
  readonly slab: number;
}

function readMemory(peer: ShimmyPeer): Memory {
  const anonymous = peer.pids.map((pid) => readResident(pid).anonymousBytes);
  return {
    memfd: readMemfdBytes(peer.pids),
    anonymous: anonymous.reduce((sum, bytes) => sum + bytes, 0),
    tcp: readTcpBytes(),
    slab: readSocketSlabBytes() ?? NaN,
  };
}
