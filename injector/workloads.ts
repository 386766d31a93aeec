import { has, objectAt, textAt, type Fields } from "./raw.ts";

/** A kind of object that holds the template of pods, or is a pod. */
export interface WorkloadKind {
  /** Names on the way to the template; none for a pod itself. */
  readonly template: readonly string[];
  /** Whether keys of its metadata are carried to the template. */
  readonly isCarried: boolean;
  /** Whether the template can be changed after creation. */
  readonly isMutable: boolean;
}

const TEMPLATE = ["spec", "template"];

const KINDS: ReadonlyMap<string, WorkloadKind> = new Map([
  ["v1 Pod", { template: [], isCarried: false, isMutable: false }],
  ["v1 ReplicationController", { template: TEMPLATE, isCarried: false, isMutable: true }],
  ["v1 PodTemplate", { template: ["template"], isCarried: false, isMutable: true }],
  ["apps/v1 Deployment", { template: TEMPLATE, isCarried: true, isMutable: true }],
  ["apps/v1 ReplicaSet", { template: TEMPLATE, isCarried: false, isMutable: true }],
  ["apps/v1 StatefulSet", { template: TEMPLATE, isCarried: true, isMutable: true }],
  ["apps/v1 DaemonSet", { template: TEMPLATE, isCarried: true, isMutable: true }],
  ["batch/v1 Job", { template: TEMPLATE, isCarried: true, isMutable: false }],
  [
    "batch/v1 CronJob",
    { template: ["spec", "jobTemplate", ...TEMPLATE], isCarried: true, isMutable: true },
  ],
]);

/** What an object is; `undefined` when it makes no pods. */
export function workloadKind(object: Fields): WorkloadKind | undefined {
  return KINDS.get(`${textAt(object, "apiVersion") ?? ""} ${textAt(object, "kind") ?? ""}`);
}

/**
 * The pod template of a workload, or the pod itself.
 *
 * @returns `undefined` when there is none, as in an apply that leaves it out.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when something else is in its place.
 */
export function templateOf(object: Fields, { template }: WorkloadKind): Fields | undefined {
  let inner = object;
  for (const name of template) {
    if (!has(inner, name)) return undefined;
    inner = objectAt(inner, name);
  }
  return inner;
}
