// The cluster of the agent bench, and its figures.
import type { Target } from "../lib/result.ts";

/** Node of the agent. */
export const NODE = "n1";

/** Namespace of everything. */
export const NAMESPACE = "shop";

/** How large the cluster is: what one agent is to bear. */
export const SIZE = { localPods: 250, slices: 10_000, endpointsPerSlice: 10 } as const;

/** Services that each pod of the node calls, so that some thousand changes a minute are told. */
export const SERVICES_PER_POD = 20;

/** Name of a Service; each has one slice. */
export function serviceName(index: number): string {
  return `service-${index}`;
}

/** Name of a pod of the node. */
export function podName(index: number): string {
  return `pod-${index}`;
}

/** UID of a pod of the node. */
export function podUid(index: number): string {
  return `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`;
}

/** Services that a pod calls: spread over the first half, so that nobody calls the others. */
export function calledBy(pod: number): readonly number[] {
  const called = SIZE.slices / 2;
  return Array.from({ length: SERVICES_PER_POD }, (_, i) => (pod * 37 + i * 211) % called);
}

/** One change of a slice, as the API server made it. */
export interface Change {
  /** Index of its Service. */
  readonly service: number;
  /** The address that came with it, unlike all others. */
  readonly address: string;
  /** Time of day, in milliseconds. */
  readonly at: number;
}

/** Every absolute figure of the bench. */
export const FIGURES: readonly Target[] = [
  { key: "peak_rss_mib", title: "largest resident memory of the agent, MiB", bound: 250 },
  {
    key: "endpoint_p99_ms",
    title:
      "change of an EndpointSlice until all pods that watch its Service have the message, 99th percentile, ms",
    bound: 1000,
  },
];
