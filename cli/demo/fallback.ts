import { setTimeout as delay } from "node:timers/promises";

import { ShimmyError } from "../../common/errors.ts";
import { FALLBACK_REASONS } from "../../common/reasons.ts";
import type { PodTraffic } from "../traffic.ts";
import { runToEnd } from "./programs.ts";
import { SERVER, type Scene } from "./scene.ts";

/** One curl through the client's sidecar. */
export interface Call {
  readonly status: string;
  /** What carried it, with the reason if it was TCP: from the sidecar's counters. */
  readonly way: string;
}

const PAUSE_MS = 200;

/** {@link Call.way} of a call by shared memory. */
export const BY_SHM = "shared memory";
/** A relay that was refused shared memory asks again a second later; a slow machine may need more. */
const MAX_CALLS_TO_RETURN = 40;

/** Calls a few times, and tells of each. */
export async function callSome(
  scene: Scene,
  count: number,
  tell: (call: Call) => void,
): Promise<void> {
  for (let i = 0; i < count; i++) {
    tell(await callOnce(scene));
    await delay(PAUSE_MS);
  }
}

/**
 * Calls until a call goes by shared memory, and tells of each.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when none does.
 */
export async function callUntilShm(scene: Scene, tell: (call: Call) => void): Promise<void> {
  for (let i = 0; i < MAX_CALLS_TO_RETURN; i++) {
    const call = await callOnce(scene);
    tell(call);
    if (call.way === BY_SHM) return;
    await delay(PAUSE_MS);
  }
  throw new ShimmyError("SHIMMY_ERR_SYSTEM", "connections did not return to shared memory");
}

/** Kills the sidecar in front of nginx, as a crash would. */
export async function killServerSidecar({ mesh }: Scene): Promise<void> {
  const sidecar = mesh.sidecar(SERVER);
  sidecar?.signal("SIGKILL");
  await sidecar?.ended;
}

async function callOnce(scene: Scene): Promise<Call> {
  const { workspace, programs, shimmy } = scene;
  const before = await scene.clientTraffic();
  const format = ["--output", "/dev/null", "--write-out", "%{http_code}\n"];
  const words = [programs.curl, "--silent", "--max-time", "5", ...format, `http://${shimmy}/hello`];
  const [status = ""] = await runToEnd(workspace, "curl", words);
  return { status, way: wayTaken(before, await scene.clientTraffic()) };
}

/** What carried the one connection between two looks at the counters. */
export function wayTaken(before: PodTraffic, after: PodTraffic): string {
  if (after.shm.outbound > before.shm.outbound) return BY_SHM;
  if (after.tcp.outbound === before.tcp.outbound) return "nothing";
  const reason = FALLBACK_REASONS.find(
    (each) => (after.fallbacks[each] ?? 0) > (before.fallbacks[each] ?? 0),
  );
  return reason === undefined ? "TCP" : `TCP, reason ${reason}`;
}
