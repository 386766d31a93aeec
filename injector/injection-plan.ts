import type { UpstreamSpec } from "../sidecar/upstreams.ts";
import type { InjectionConfig } from "./config.ts";
import type { Fields } from "./raw.ts";
import type { Settings } from "./vocabulary.ts";
import { numberAt } from "./raw.ts";

/** A pod that is to get the sidecar, and everything that was set for it. */
export interface InjectionSubject {
  readonly pod: Fields;
  readonly spec: Fields;
  readonly podNamespace: string;
  /** From the pod and, carried, its workload. */
  readonly own: Settings;
  /** Those of pod, namespace and cluster, the nearest of each. */
  readonly settings: Settings;
  readonly config: InjectionConfig;
}

const DEFAULT_RING_BUDGET_BYTES = 64 * 1024 ** 2;
const DEFAULT_DRAIN_MS = 25_000;
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
const DEFAULT_GRACE_SECONDS = 30;
/** Between the end of the drain and the kill. */
const DRAIN_MARGIN_MS = 2000;

/** Whether the sidecar is an init container that keeps running. */
export function isNative({ settings }: Pick<InjectionSubject, "settings">): boolean {
  return settings.nativeSidecar !== "disabled";
}

/** Shared memory that the sidecar may use. */
export function ringBudgetBytes({ settings }: Pick<InjectionSubject, "settings">): number {
  return settings.ringBudget ?? DEFAULT_RING_BUDGET_BYTES;
}

/** Time that Kubernetes gives the pod to stop, in milliseconds. */
export function gracePeriodMs({ spec }: Pick<InjectionSubject, "spec">): number {
  return (numberAt(spec, "terminationGracePeriodSeconds") ?? DEFAULT_GRACE_SECONDS) * 1000;
}

/** Time for connections to end; one that the pod did not set itself is cut to its grace period. */
export function drainTimeoutMs(subject: InjectionSubject): number {
  const { own, settings } = subject;
  if (own.drainTimeoutMs !== undefined) return own.drainTimeoutMs;
  const most = Math.max(0, gracePeriodMs(subject) - DRAIN_MARGIN_MS);
  return Math.min(settings.drainTimeoutMs ?? DEFAULT_DRAIN_MS, most);
}

/** The services that the pod calls. */
export function upstreamsOf({ own }: Pick<InjectionSubject, "own">): readonly UpstreamSpec[] {
  return own.upstreams ?? [];
}

/** Whether the pod asks for topics over HTTP. */
export function hasTopics({ own }: Pick<InjectionSubject, "own">): boolean {
  return own.publish !== undefined || own.subscribe !== undefined;
}
