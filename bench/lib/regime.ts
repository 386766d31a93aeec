import { cpus } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Regime } from "./result.ts";
import type { Daemon, Workspace } from "./workspace.ts";

/** Until the scheduler has settled after spinners come or go. */
const SETTLE_MS = 100;

/**
 * Runs `body` in a regime: as the machine is, or with a nice-19 spinner pinned on each core, so
 * that no (virtual) CPU ever sleeps and waking one costs nothing.
 */
export async function inRegime<T>(
  workspace: Workspace,
  regime: Regime,
  body: () => Promise<T>,
): Promise<T> {
  const spinners = regime === "busy" ? startSpinners(workspace) : [];
  try {
    if (spinners.length > 0) await delay(SETTLE_MS);
    return await body();
  } finally {
    await Promise.all(spinners.map((spinner) => spinner.stop()));
  }
}

function startSpinners(workspace: Workspace): readonly Daemon[] {
  return cpus().map((_, core) =>
    workspace.start({
      name: `spinner-${core}`,
      // In no role: a cgroup of its own would give it a share that niceness does not touch.
      argv: ["taskset", "-c", String(core), "nice", "-n", "19", "sh", "-c", "while :; do :; done"],
    }),
  );
}
