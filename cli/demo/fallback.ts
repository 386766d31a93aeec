import { setTimeout as delay } from "node:timers/promises";

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

/** Calls a few times, and tells of each. */
export async function callSome(
  scene: Scene,
  count: number,
  tell: (call: Call) => void,
): Promise<readonly Call[]> {
  const calls: Call[] = [];
  for (let i = 0; i < count; i++) {
    const call = await callOnce(scene);
    tell(call);
    calls.push(call);
    await delay(PAUSE_MS);
  }
  return calls;
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
  if (after.shm.outbound > before.shm.outbound) return "shared memory";
  if (after.tcp.outbound === before.tcp.outbound) return "nothing";
  const reason = FALLBACK_REASONS.find(
    (each) => (after.fallbacks[each] ?? 0) > (before.fallbacks[each] ?? 0),
  );
  return reason === undefined ? "TCP" : `TCP, reason ${reason}`;
}
