import {
  matchesSelector,
  type KubernetesObject,
  type LabelSelector,
} from "../common/kubernetes/objects.ts";
import { RESOURCES, type Resource } from "../common/kubernetes/resources.ts";
import type { MasterPod } from "./world.ts";

/** Workloads whose keys the injector carries to their template when they change. */
export const CARRIED_RESOURCES: readonly Resource[] = [
  RESOURCES.deployments,
  RESOURCES.statefulSets,
  RESOURCES.daemonSets,
  RESOURCES.cronJobs,
];

/**
 * Why an opt-in has not reached the pods of a workload: it is not in the template, or it is and
 * nobody makes the pods anew.
 */
export type UncarriedCause = "template" | Hold;

type Hold = "paused" | "on_delete" | "partition";

/** A workload that opted in by its own annotation, and whose pods may not know. */
export interface UncarriedWorkload {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly cause: UncarriedCause;
  /** Which pods are its own. */
  readonly selector: LabelSelector;
}

interface Template {
  readonly metadata?: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

interface RawWorkload extends KubernetesObject {
  readonly spec?: {
    readonly selector?: LabelSelector;
    readonly template?: Template;
    readonly jobTemplate?: { readonly spec?: { readonly template?: Template } };
    readonly paused?: boolean;
    readonly updateStrategy?: {
      readonly type?: string;
      readonly rollingUpdate?: { readonly partition?: number };
    };
  };
}

const INJECT_KEY = "shimmy.io/inject";

/**
 * Keeps a workload that was to be carried and was not, as one annotated before the injector was
 * there, and one that was and does not make new pods by itself. All others are left out.
 */
export function takeUncarried(
  { apiVersion, kind }: Resource,
  object: KubernetesObject,
): UncarriedWorkload | undefined {
  const { namespace = "", name, uid = "", annotations = {}, deletionTimestamp } = object.metadata;
  if (annotations[INJECT_KEY] !== "enabled" || deletionTimestamp !== undefined) return undefined;
  const cause = causeOf(object);
  if (cause === undefined) return undefined;
  const { selector = {} } = (object as RawWorkload).spec ?? {};
  return { apiVersion, kind, namespace, name, uid, cause, selector };
}

/**
 * Finds those whose pods really have no sidecar for it: what holds back its rollout may be about
 * something else, or have nothing to hold back.
 */
export function findUncarried(
  workloads: Iterable<UncarriedWorkload>,
  pods: ReadonlyMap<string, MasterPod>,
): UncarriedWorkload[] {
  const old = [...pods.values()].filter(isFromBefore);
  return [...workloads].filter(
    ({ cause, namespace, selector }) =>
      cause === "template" ||
      old.some((pod) => pod.namespace === namespace && matchesSelector(selector, pod.labels)),
  );
}

/** One that says itself that it wants a sidecar and has none is another matter: uninjected.ts. */
function isFromBefore(pod: MasterPod): boolean {
  if (pod.hasSidecar || pod.isFinished || pod.isTerminating) return false;
  return wordsOf(pod).length === 0;
}

function causeOf({ spec = {} }: RawWorkload): UncarriedCause | undefined {
  const template = spec.template ?? spec.jobTemplate?.spec?.template;
  const words = wordsOf(template?.metadata ?? {});
  if (words.length === 0) return "template";
  // Whatever the template says wins, a refusal too.
  return words.includes("disabled") ? undefined : holdOf(spec);
}

function holdOf({ paused, updateStrategy }: NonNullable<RawWorkload["spec"]>): Hold | undefined {
  if (paused === true) return "paused";
  if (updateStrategy?.type === "OnDelete") return "on_delete";
  return (updateStrategy?.rollingUpdate?.partition ?? 0) > 0 ? "partition" : undefined;
}

function wordsOf({ labels = {}, annotations = {} }: NonNullable<Template["metadata"]>): string[] {
  return [labels, annotations].flatMap((entries) => {
    const word = Object.hasOwn(entries, INJECT_KEY) ? entries[INJECT_KEY] : undefined;
    return word === undefined ? [] : [word];
  });
}
