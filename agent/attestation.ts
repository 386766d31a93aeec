import { messageOf, ShimmyError } from "../common/errors.ts";
import { keyOf, type CatalogPod } from "./catalog.ts";
import { readCgroup } from "./cgroup.ts";
import type { Credentials } from "./native.ts";

/**
 * Decides whether a connected process may be the pod whose socket it connected to.
 *
 * Where the user is the identity, the kernel says which user connected, and the catalog which users
 * may be this pod. In Kubernetes the kernel says which process connected and in which cgroup it is,
 * and that must be a cgroup of this pod.
 *
 * @returns The refusal, or `undefined` when it may.
 */
export function attest(pod: CatalogPod, peer: Credentials): ShimmyError | undefined {
  const { identity } = pod;
  const problem =
    identity.kind === "user"
      ? wrongUser(keyOf(pod), identity.runAs, peer)
      : wrongCgroup(keyOf(pod), pod.uid, peer);
  return problem === undefined ? undefined : new ShimmyError("SHIMMY_ERR_NOT_ATTESTED", problem);
}

function wrongUser(
  pod: string,
  runAs: ReadonlySet<number>,
  { uid }: Credentials,
): string | undefined {
  if (runAs.has(uid)) return undefined;
  return `user ${uid} may not be pod ${pod}, whose runAs is ${[...runAs].join(", ")}`;
}

function wrongCgroup(pod: string, uid: string, { pid, cgroup }: Credentials): string | undefined {
  if (cgroup === undefined) return `no cgroup says that this is pod ${pod}`;
  try {
    const reading = readCgroup(cgroup());
    if (reading.kind === "refused") return `process ${pid} is not pod ${pod}: ${reading.problem}`;
    if (reading.kind === "none") return `process ${pid} is of no pod, this is the socket of ${pod}`;
    if (reading.uid === uid) return undefined;
    return `process ${pid} is of pod ${reading.uid}, this is the socket of ${pod}`;
  } catch (err) {
    return `process ${pid} cannot be known for one of pod ${pod}: ${messageOf(err)}`;
  }
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
