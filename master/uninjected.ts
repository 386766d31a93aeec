import { INJECTION_REASONS, type InjectionReason } from "../common/reasons.ts";
import type { FoundNamespace, MasterPod } from "./world.ts";

/** Who asked for the sidecar that a pod does not have. */
export const OPT_IN_LEVELS = ["pod", "namespace"] as const;

/** One of {@link OPT_IN_LEVELS}. */
export type OptInLevel = (typeof OPT_IN_LEVELS)[number];

/** A pod that was to have a sidecar and has none. */
export interface UninjectedPod {
  readonly pod: MasterPod;
  readonly optIn: OptInLevel;
}

/** What {@link findUninjected} looks at. */
export interface InjectionView {
  readonly pods: ReadonlyMap<string, MasterPod>;
  readonly namespaces: ReadonlyMap<string, FoundNamespace>;
  /** Namespaces in which nothing is injected. */
  readonly excluded: ReadonlySet<string>;
}

const INJECT_KEY = "shimmy.io/inject";
const SKIPPED_KEY = "shimmy.io/skipped";
const MIRROR_KEY = "kubernetes.io/config.mirror";

/**
 * Finds the pods that opted in and have no sidecar.
 *
 * They were made while the webhook was not there, or before Shimmy was, or another webhook removed
 * the sidecar. A pod that was left alone for a reason says so itself and is not among them.
 */
export function findUninjected(view: InjectionView): UninjectedPod[] {
  return [...view.pods.values()].flatMap((pod) => {
    const optIn = isOutOfScope(pod, view) ? undefined : optInOf(pod, view);
    return optIn === undefined ? [] : [{ pod, optIn }];
  });
}

/** A pod that was left without a sidecar for a reason. */
export interface SkippedPod {
  readonly pod: MasterPod;
  readonly reason: InjectionReason;
}

/** Finds the pods whose namespace opted in and that the injector left alone, and why. */
export function findSkipped(view: InjectionView): SkippedPod[] {
  return [...view.pods.values()].flatMap((pod) => {
    const reason = skipReasonOf(pod);
    if (reason === undefined || isOver(pod) || optInOf(pod, view) !== "namespace") return [];
    return [{ pod, reason }];
  });
}

/** Anybody may write the annotation; what the injector cannot have written is none. */
function skipReasonOf({ annotations }: MasterPod): InjectionReason | undefined {
  const word = Object.hasOwn(annotations, SKIPPED_KEY) ? annotations[SKIPPED_KEY] : undefined;
  return INJECTION_REASONS.find((reason) => reason === word);
}

function isOver({ hasSidecar, isFinished, isTerminating }: MasterPod): boolean {
  return hasSidecar || isFinished || isTerminating;
}

function isOutOfScope(pod: MasterPod, { excluded }: InjectionView): boolean {
  return (
    isOver(pod) ||
    excluded.has(pod.namespace) ||
    skipReasonOf(pod) !== undefined ||
    Object.hasOwn(pod.annotations, MIRROR_KEY)
  );
}

/** The nearest level wins; on one level `disabled` wins. */
function optInOf(pod: MasterPod, { namespaces }: InjectionView): OptInLevel | undefined {
  const own = [pod.labels, pod.annotations]
    .filter((entries) => Object.hasOwn(entries, INJECT_KEY))
    .map((entries) => entries[INJECT_KEY]);
  if (own.length > 0) return own.includes("disabled") ? undefined : "pod";
  return namespaces.get(pod.namespace)?.labels[INJECT_KEY] === "enabled" ? "namespace" : undefined;
}
