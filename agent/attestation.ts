import { ShimmyError } from "../common/errors.ts";
import { keyOf, type CatalogPod } from "./catalog.ts";
import type { Credentials } from "./native.ts";

/**
 * Decides whether a connected process may be the pod whose socket it connected to.
 *
 * Where the user is the identity, the kernel says which user connected, the catalog which users may
 * be this pod. A pod that is known by its cgroup is nobody's whose cgroup was not read.
 *
 * @returns The refusal, or `undefined` when it may.
 */
export function attest(pod: CatalogPod, { uid }: Credentials): ShimmyError | undefined {
  if (pod.identity.kind === "pod") {
    return new ShimmyError("SHIMMY_ERR_NOT_ATTESTED", `no cgroup names pod ${keyOf(pod)}`);
  }
  const { runAs } = pod.identity;
  if (runAs.has(uid)) return undefined;
  const allowed = [...runAs].join(", ");
  return new ShimmyError(
    "SHIMMY_ERR_NOT_ATTESTED",
    `user ${uid} may not be pod ${keyOf(pod)}, whose runAs is ${allowed}`,
  );
}

/**
 * Decides who may see all pods of the node: root, and the user the agent runs as.
 *
 * @returns The refusal, or `undefined`.
 */
export function admitOperator({ uid }: Credentials): ShimmyError | undefined {
  if (uid === 0 || uid === process.geteuid?.()) return undefined;
  return new ShimmyError("SHIMMY_ERR_NOT_ATTESTED", `user ${uid} may not see all pods of the node`);
}
