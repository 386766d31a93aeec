// What is to be: from SharedMemoryObjects and pods to attachments and statuses. Pure.
//
//   I1  the same world gives the same plan, whatever was done before
//   I2  who is older keeps its place: a new object or pod never pushes another out of a full node
//   I3  a selector that is empty or not understood selects nothing
import { matchesSelector } from "../common/kubernetes/objects.ts";
import type {
  ChannelRoleSpec,
  SharedMemoryObjectStatus,
} from "../common/kubernetes/shared-memory-object.ts";
import type { Attachment, ChannelRole } from "../common/kubernetes/shimmy-node.ts";
import { MAX_ATTACHMENTS } from "../common/kubernetes/shimmy-node-schema.ts";
import { decideConditions } from "./conditions.ts";
import type { FoundObject, MasterPod, World } from "./world.ts";

/** What is to be written. */
export interface Plan {
  /** Attachments of every node there is, by its name. */
  readonly nodes: ReadonlyMap<string, readonly Attachment[]>;
  /** Status of every object, by `namespace/name`. */
  readonly statuses: ReadonlyMap<string, SharedMemoryObjectStatus>;
  /** Attachments in all. */
  readonly attachments: number;
}

/** What became of one object's attachments. */
export interface Outcome {
  readonly publishers: number;
  readonly subscribers: number;
  readonly nodes: number;
  /** Pods whose node has no room for them. */
  readonly left: number;
  /** Pods on nodes that the API server does not have. */
  readonly astray: number;
}

/**
 * Decides everything anew.
 *
 * @param now - Time of day, for conditions that change.
 */
export function makePlan(world: World, now: Date): Plan {
  const podsByNamespace = Map.groupBy(
    [...world.pods.values()].filter(isEligible).sort(byAge),
    ({ namespace }) => namespace,
  );
  const nodes = new Map<string, Attachment[]>([...world.nodes.keys()].map((name) => [name, []]));
  const statuses = new Map<string, SharedMemoryObjectStatus>();
  for (const [key, object] of [...world.objects].sort(byObjectAge)) {
    const wanted = candidates(object, podsByNamespace);
    statuses.set(key, statusOf(object, place(wanted, nodes), now));
  }
  const attachments = [...nodes.values()].reduce((sum, { length }) => sum + length, 0);
  return { nodes, statuses, attachments };
}

interface Candidate {
  readonly node: string;
  readonly attachment: Attachment;
}

/** Pods that are attached: with a sidecar, on a node, until their containers have ended. */
function isEligible({ hasSidecar, node, isFinished }: MasterPod): boolean {
  return hasSidecar && node !== undefined && !isFinished;
}

function candidates(
  { metadata, spec }: FoundObject,
  podsByNamespace: ReadonlyMap<string, readonly MasterPod[]>,
): Candidate[] {
  if (spec?.type === undefined || metadata.deletionTimestamp !== undefined) return [];
  const { namespace, name, uid } = metadata;
  const object = { namespace, name, uid };
  const inRole = (role: ChannelRole, who: ChannelRoleSpec | undefined): Candidate[] =>
    podsOf(namespace, who, podsByNamespace).flatMap((pod) => {
      const containers = who === undefined ? undefined : containersIn(pod, who);
      if (containers === undefined || pod.node === undefined) return [];
      const identity = { namespace: pod.namespace, name: pod.name, uid: pod.uid };
      const some = containers.length === 0 ? {} : { containers };
      return [{ node: pod.node, attachment: { object, pod: identity, role, ...some } }];
    });
  return [...inRole("publisher", spec.publishers), ...inRole("subscriber", spec.subscribers)];
}

function podsOf(
  own: string,
  who: ChannelRoleSpec | undefined,
  podsByNamespace: ReadonlyMap<string, readonly MasterPod[]>,
): MasterPod[] {
  const namespaces = new Set([own, ...(who?.allowedNamespaces ?? [])]);
  return [...namespaces].flatMap((namespace) => podsByNamespace.get(namespace) ?? []);
}

/** The containers of a pod that take a role, none named for all; `undefined` when it takes none. */
function containersIn(pod: MasterPod, who: ChannelRoleSpec): string[] | undefined {
  const { containers, podSelector } = who;
  if (containers === undefined && podSelector === undefined) return undefined; // I3
  if (podSelector !== undefined && !matchesSelector(podSelector, pod.labels)) return undefined;
  if (containers === undefined) return [];
  const found = containers.filter((name) => pod.containers.includes(name)).sort();
  return found.length === 0 ? undefined : found;
}

/** Adds attachments to their nodes, as far as there is room. */
function place(wanted: readonly Candidate[], nodes: Map<string, Attachment[]>): Outcome {
  let left = 0;
  let astray = 0;
  const used = new Set<string>();
  for (const { node, attachment } of wanted) {
    const attachments = nodes.get(node);
    if (attachments === undefined) astray += 1;
    else if (attachments.length >= MAX_ATTACHMENTS) left += 1;
    else {
      attachments.push(attachment);
      used.add(node);
    }
  }
  const count = (role: ChannelRole): number =>
    wanted.filter(({ attachment }) => attachment.role === role).length;
  const counts = { publishers: count("publisher"), subscribers: count("subscriber") };
  return { ...counts, nodes: used.size, left, astray };
}

function statusOf(object: FoundObject, outcome: Outcome, now: Date): SharedMemoryObjectStatus {
  const { publishers, subscribers, nodes } = outcome;
  const { generation = 0 } = object.metadata;
  const conditions = decideConditions(object, outcome, now);
  return { observedGeneration: generation, publishers, subscribers, nodes, conditions };
}

/** I2; the same moment is common, so names decide then. */
function byAge(a: MasterPod, b: MasterPod): number {
  return (
    compare(a.createdAt, b.createdAt) ||
    compare(a.namespace, b.namespace) ||
    compare(a.name, b.name)
  );
}

function byObjectAge([a, left]: [string, FoundObject], [b, right]: [string, FoundObject]): number {
  const times = [left, right].map(({ metadata }) => metadata.creationTimestamp ?? "");
  return compare(times[0] ?? "", times[1] ?? "") || compare(a, b);
}

/** Not by locale: two masters may have different ones. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
