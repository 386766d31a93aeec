import { matchesSelector } from "../../common/kubernetes/objects.ts";
import type { KubernetesObject, LabelSelector } from "../../common/kubernetes/objects.ts";
import type { PodObject } from "../check/context.ts";

/** What is read of a Deployment, StatefulSet or DaemonSet. */
export interface RollingObject extends KubernetesObject {
  readonly spec?: {
    readonly paused?: boolean;
    readonly replicas?: number;
    readonly selector?: LabelSelector;
    readonly updateStrategy?: {
      readonly type?: string;
      readonly rollingUpdate?: { readonly partition?: number };
    };
  };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly availableReplicas?: number;
    readonly readyReplicas?: number;
    readonly desiredNumberScheduled?: number;
    readonly updatedNumberScheduled?: number;
    readonly numberAvailable?: number;
  };
}

/** What is left to do before no pod has a sidecar. */
export interface RolloutState {
  /** Their pods are being made again, or end by themselves. */
  readonly waiting: readonly string[];
  /** Their rollout is over, and they still have pods with a sidecar: to be restarted. */
  readonly restart: readonly RollingObject[];
  /** Nobody makes their pods again: each with what to do. */
  readonly stuck: readonly string[];
}

/** Judges workloads and the pods that still have a sidecar. */
export function judgeRollouts(
  workloads: readonly RollingObject[],
  pods: readonly PodObject[],
): RolloutState {
  const waiting = new Set<string>();
  const stuck = new Set<string>();
  const restart = new Set<RollingObject>();
  for (const pod of pods) {
    const workload = workloads.find((each) => isOf(pod, each));
    if (workload === undefined) judgeLonely(pod, waiting, stuck);
    else if (pod.metadata.deletionTimestamp !== undefined) waiting.add(nameOf(workload));
    else judgeWorkload(workload, { waiting, stuck, restart });
  }
  return { waiting: [...waiting], restart: [...restart], stuck: [...stuck] };
}

function judgeWorkload(
  workload: RollingObject,
  found: { waiting: Set<string>; stuck: Set<string>; restart: Set<RollingObject> },
): void {
  const held = heldBack(workload);
  if (held !== undefined) found.stuck.add(`${nameOf(workload)}: ${held}`);
  else if (isRolling(workload)) found.waiting.add(nameOf(workload));
  else found.restart.add(workload);
}

/** A pod of no workload that we know. */
function judgeLonely(pod: PodObject, waiting: Set<string>, stuck: Set<string>): void {
  const owner = ownerOf(pod);
  if (pod.metadata.deletionTimestamp !== undefined) waiting.add(nameOf(pod));
  else if (owner?.kind === "Job") {
    waiting.add(`job ${pod.metadata.namespace ?? ""}/${owner.name}`);
  } else if (owner === undefined) {
    stuck.add(`${nameOf(pod)}: nobody makes it again; delete it, or make it anew`);
  } else {
    const by = `${owner.kind.toLowerCase()} ${owner.name}`;
    stuck.add(`${nameOf(pod)}: belongs to ${by}; have that make its pods again`);
  }
}

function ownerOf({ metadata }: PodObject): { kind: string; name: string } | undefined {
  const owners = metadata.ownerReferences ?? [];
  return owners.find(({ controller }) => controller === true) ?? owners[0];
}

function isOf(pod: PodObject, workload: RollingObject): boolean {
  const { kind = "", metadata, spec = {} } = workload;
  const owner = ownerOf(pod);
  if (owner === undefined || pod.metadata.namespace !== metadata.namespace) return false;
  if (kind !== "Deployment") return owner.kind === kind && owner.name === metadata.name;
  // Between a Deployment and its pods stands a ReplicaSet, named after it with a hash.
  const stem = owner.name.slice(0, owner.name.lastIndexOf("-"));
  return (
    owner.kind === "ReplicaSet" &&
    stem === metadata.name &&
    matchesSelector(spec.selector ?? {}, pod.metadata.labels)
  );
}

function heldBack({ kind, spec = {}, metadata }: RollingObject): string | undefined {
  const name = `${(kind ?? "").toLowerCase()} -n ${metadata.namespace ?? ""} ${metadata.name}`;
  if (spec.paused === true) return `is paused; kubectl rollout resume ${name}`;
  const { type, rollingUpdate } = spec.updateStrategy ?? {};
  if (type === "OnDelete") return "has strategy OnDelete; delete its pods";
  if ((rollingUpdate?.partition ?? 0) > 0) {
    // Those that are deleted come back as they were.
    return "keeps pods below its partition; set the partition to 0";
  }
  return undefined;
}

/** As `kubectl rollout status` judges it. */
function isRolling(workload: RollingObject): boolean {
  const { kind, metadata, spec = {}, status = {} } = workload;
  if ((status.observedGeneration ?? 0) < (metadata.generation ?? 0)) return true;
  return kind === "DaemonSet" ? isSetRolling(status) : areReplicasRolling(spec, status);
}

type Status = NonNullable<RollingObject["status"]>;

function isSetRolling({
  desiredNumberScheduled: wanted = 0,
  updatedNumberScheduled: updated = 0,
  numberAvailable: available = 0,
}: Status): boolean {
  return updated < wanted || available < wanted;
}

function areReplicasRolling(
  { replicas: wanted = 1 }: NonNullable<RollingObject["spec"]>,
  { replicas = 0, updatedReplicas: updated = 0, readyReplicas = 0, ...status }: Status,
): boolean {
  const available = status.availableReplicas ?? readyReplicas;
  return updated < wanted || replicas > updated || available < updated;
}

/** `deployment shop/web`. */
export function nameOf({ kind = "Pod", metadata }: KubernetesObject): string {
  const { namespace, name } = metadata;
  return `${kind.toLowerCase()} ${namespace === undefined ? name : `${namespace}/${name}`}`;
}
