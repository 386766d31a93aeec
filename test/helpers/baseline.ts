import type { SessionsReply } from "../../sidecar/status.ts";
import { eventually } from "./eventually.ts";
import type { LocalMesh } from "./local-mesh.ts";
import type { ProcessSnapshot } from "./process-snapshot.ts";

/** What processes held at some time, by name. */
export type Held = ReadonlyMap<string, ProcessSnapshot>;

/** A scrape that is being answered, and a timer of Node. */
const SPARE_FDS = 4;
/** Heaps grow until the collector runs; a leak of a whole stream is 40 KiB and shows as mappings. */
const SPARE_BYTES = 48 * 1024 * 1024;

/**
 * Waits until agent and sidecars hold no more than before.
 *
 * Rings that a session keeps for its next stream are not counted: there is a bound on them.
 *
 * @throws Error that tells which process holds what.
 */
export async function awaitBaseline(mesh: LocalMesh, before: Held): Promise<void> {
  let more: string[] = [];
  const isBack = async (): Promise<boolean> => {
    more = [];
    const now = mesh.snapshot();
    for (const [name, then] of before) {
      const held = now.get(name);
      const pooled = name === "agent" ? 0 : await pooledPairs(mesh, name);
      if (held !== undefined) more.push(...excess(name, then, held, pooled));
    }
    return more.length === 0;
  };
  try {
    await eventually("agent and sidecars to hold no more than before", isBack);
  } catch (err) {
    throw new Error(more.join("; "), { cause: err });
  }
}

function excess(
  name: string,
  then: ProcessSnapshot,
  now: ProcessSnapshot,
  pooled: number,
): string[] {
  const limits = {
    fds: then.fds + SPARE_FDS,
    memfdMappings: then.memfdMappings + pooled * MAPPINGS_PER_PAIR,
    threads: then.threads,
    anonymousBytes: then.anonymousBytes + SPARE_BYTES,
    sharedBytes: Infinity, // follows from the mappings
  };
  return Object.entries(limits)
    .filter(([key, limit]) => now[key as keyof ProcessSnapshot] > limit)
    .map(([key, limit]) => {
      const value = now[key as keyof ProcessSnapshot];
      return `${name} has ${key} ${value}, more than ${limit} (${pooled} pairs are pooled)`;
    });
}

/** A half is its control page and data, and its data once more (docs/architecture.md). */
const MAPPINGS_PER_PAIR = 4;

/** Pairs of rings that sessions keep for the next stream. */
async function pooledPairs(mesh: LocalMesh, pod: string): Promise<number> {
  const reply = JSON.parse((await mesh.get(pod, "/v1/sessions")) ?? "{}") as Partial<SessionsReply>;
  return (reply.sessions ?? []).reduce((sum, { relay }) => sum + (relay?.pooledPairs ?? 0), 0);
}

/**
 * Asserts that a sidecar without connections has in its accounts exactly the rings that it keeps:
 * a difference grows until connections are refused for a limit that nobody has reached.
 */
export async function assertBalanced(mesh: LocalMesh, pod: string): Promise<void> {
  await eventually(`the rings that ${pod} counts to be those that it keeps`, async () => {
    const pooled = await pooledPairs(mesh, pod);
    const metrics = await mesh.metrics(pod);
    return ["own", "peer"].every(
      (owner) => metrics.sum("shimmy_ring_bytes", { owner }) === pooled * FIRST_HALF_BYTES,
    );
  });
}

/** A control page and the first ring; only those are kept. */
const FIRST_HALF_BYTES = 4096 + 16 * 1024;
