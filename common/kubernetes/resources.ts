/** The group and version of our own kinds. */
export const SHIMMY_API_VERSION = "shimmy.io/v1alpha1";

/** A kind of object and where the API server has it. */
export interface Resource {
  /** Group and version, `v1` for the core group. */
  readonly apiVersion: string;
  readonly kind: string;
  /** Its name in paths: lower case, plural. */
  readonly plural: string;
  readonly isNamespaced: boolean;
}

/** The kinds that Shimmy reads or writes. */
export const RESOURCES = {
  pods: { apiVersion: "v1", kind: "Pod", plural: "pods", isNamespaced: true },
  namespaces: { apiVersion: "v1", kind: "Namespace", plural: "namespaces", isNamespaced: false },
  nodes: { apiVersion: "v1", kind: "Node", plural: "nodes", isNamespaced: false },
  services: { apiVersion: "v1", kind: "Service", plural: "services", isNamespaced: true },
  configMaps: { apiVersion: "v1", kind: "ConfigMap", plural: "configmaps", isNamespaced: true },
  secrets: { apiVersion: "v1", kind: "Secret", plural: "secrets", isNamespaced: true },
  endpointSlices: {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    isNamespaced: true,
  },
  networkPolicies: {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    isNamespaced: true,
  },
  deployments: {
    apiVersion: "apps/v1",
    kind: "Deployment",
    plural: "deployments",
    isNamespaced: true,
  },
  statefulSets: {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    plural: "statefulsets",
    isNamespaced: true,
  },
  daemonSets: {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    plural: "daemonsets",
    isNamespaced: true,
  },
  cronJobs: { apiVersion: "batch/v1", kind: "CronJob", plural: "cronjobs", isNamespaced: true },
  events: {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    plural: "events",
    isNamespaced: true,
  },
  leases: {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    plural: "leases",
    isNamespaced: true,
  },
  mutatingWebhooks: {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    isNamespaced: false,
  },
  sharedMemoryObjects: {
    apiVersion: SHIMMY_API_VERSION,
    kind: "SharedMemoryObject",
    plural: "sharedmemoryobjects",
    isNamespaced: true,
  },
  shimmyNodes: {
    apiVersion: SHIMMY_API_VERSION,
    kind: "ShimmyNode",
    plural: "shimmynodes",
    isNamespaced: false,
  },
} as const satisfies Readonly<Record<string, Resource>>;

/** One object, or all of a kind when the name is left out. */
export interface ResourceTarget {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: "status" | "eviction";
}

/** The path of a resource on the API server. */
export function resourcePath(
  { apiVersion, plural, isNamespaced }: Resource,
  { namespace, name, subresource }: ResourceTarget = {},
): string {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const scope = isNamespaced && namespace !== undefined ? ["namespaces", namespace] : [];
  const rest = [...scope, plural, name, subresource].filter((part) => part !== undefined);
  return [root, ...rest.map(encodeURIComponent)].join("/");
}
