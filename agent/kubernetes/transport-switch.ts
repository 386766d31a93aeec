import { CLUSTER_CONFIG_NAME, TRANSPORT_KEY } from "../../common/kubernetes/vocabulary.ts";
import type { KubernetesObject, ObjectMeta } from "../../common/kubernetes/objects.ts";
import { TRANSPORT_CAPS } from "../../sidecar/upstreams.ts";

const CLUSTER_KEY = TRANSPORT_KEY.slice(TRANSPORT_KEY.indexOf("/") + 1);

/**
 * Whether a cap turns shared memory off. So does one that is not understood: who wrote it wanted
 * less than there was, or something that is not built yet, and TCP always works.
 */
export function isOffValue(cap: string | undefined): boolean {
  if (cap === undefined) return false;
  return cap === "tcp" || !(TRANSPORT_CAPS as readonly string[]).includes(cap);
}

/** Whether the annotation of a pod or namespace turns shared memory off. */
export function isOffByAnnotation({ annotations = {} }: Pick<ObjectMeta, "annotations">): boolean {
  return isOffValue(annotations[TRANSPORT_KEY]);
}

/** What the settings of the cluster say of shared memory. */
export interface ClusterSwitch {
  readonly isOff: boolean;
}

/** Whether the cluster's settings turn shared memory off; nothing for another ConfigMap. */
export function takeClusterSwitch(object: KubernetesObject): ClusterSwitch | undefined {
  if (object.metadata.name !== CLUSTER_CONFIG_NAME) return undefined;
  const { data } = object as { data?: Readonly<Record<string, string>> | null };
  return { isOff: isOffValue(data?.[CLUSTER_KEY]) };
}
