import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { isOffByAnnotation } from "./transport-switch.ts";

/** A namespace, with no more than is looked at. */
export interface NamespaceState {
  readonly labels: Readonly<Record<string, string>>;
  /** Whether it turns shared memory off for its pods. */
  readonly isOff: boolean;
}

/** Keeps what is looked at of a namespace. */
export function takeNamespace({ metadata }: KubernetesObject): NamespaceState {
  return { labels: metadata.labels ?? {}, isOff: isOffByAnnotation(metadata) };
}
