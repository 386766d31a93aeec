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

function isOutOfScope(pod: MasterPod, { excluded }: InjectionView): boolean {
  return (
    pod.hasSidecar ||
    pod.isFinished ||
    pod.isTerminating ||
    excluded.has(pod.namespace) ||
    [SKIPPED_KEY, MIRROR_KEY].some((key) => Object.hasOwn(pod.annotations, key))
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
