// A Service and its slices, as the catalog has them. Slices can be written by tenants, so:
//
//   I1  an endpoint is a pod of this node only if UID and address are those of one; all else is an
//       address to connect to over TCP
//   I2  the order of endpoints does not depend on the order in which slices came
import type { ServicePort } from "../api.ts";
import { MAX_ENDPOINTS_PER_SERVICE } from "../api-limits.ts";
import type { CatalogEndpoint, CatalogService } from "../catalog.ts";
import { unpackSlice, type PackedSlice, type SliceEndpoint } from "./endpoint-slice.ts";
import type { LocalPod } from "./local-pod.ts";
import type { KubernetesService } from "./service.ts";
import { chooseEndpoints, type Place } from "./traffic-policy.ts";

/** What a Service is resolved with. */
export interface Surroundings extends Place {
  /** Pods of this node, by UID. */
  readonly pods: ReadonlyMap<string, LocalPod>;
}

/** An endpoint that may be in several slices, with the ports of all of them. */
export interface MergedEndpoint extends SliceEndpoint {
  /** Target ports by port of the Service. */
  readonly targets: Map<number, number>;
}

/** Resolves a Service from all its slices. Pure. */
export function resolveService(
  service: KubernetesService,
  slices: readonly PackedSlice[],
  surroundings: Surroundings,
): CatalogService {
  const { key, namespace, isSticky } = service;
  const all = service.problem === undefined ? mergeSlices(service, slices) : [];
  const { endpoints, problem = service.problem } = chooseEndpoints(service, all, surroundings);
  return {
    key,
    namespace,
    isSticky,
    ports: service.ports.map((port) => ({
      name: port.name,
      port: port.port,
      targetPort: usualTarget(port.port, all) ?? port.targetPort ?? port.port,
    })),
    endpoints: endpoints
      .slice(0, MAX_ENDPOINTS_PER_SERVICE)
      .map((endpoint) => toEndpoint(endpoint, surroundings)),
    ...(problem === undefined ? {} : { problem }),
  };
}

/** What ports of a Service lead to at one pod, as far as slices say so of this very pod (I1). */
export function targetsAt(
  pod: Pick<LocalPod, "uid" | "addresses">,
  service: KubernetesService,
  slices: readonly PackedSlice[],
): ServicePort[] {
  const found = slices.flatMap((slice) => {
    const { ports, endpoints } = unpackSlice(slice);
    const isThere = endpoints.some((each) => isAt(each, pod));
    return isThere ? targetsOf(service, ports) : [];
  });
  const unique = new Map(found.map((each) => [`${each.port} ${each.targetPort}`, each]));
  return [...unique.values()];
}

function mergeSlices(service: KubernetesService, slices: readonly PackedSlice[]): MergedEndpoint[] {
  const merged = new Map<string, MergedEndpoint>();
  for (const slice of slices.filter(({ family }) => family === familyOf(service, slices))) {
    const { ports, endpoints } = unpackSlice(slice);
    const targets = targetsOf(service, ports);
    if (targets.length === 0) continue;
    for (const endpoint of endpoints) {
      const key = `${endpoint.address} ${endpoint.uid}`;
      const known = merged.get(key) ?? { ...endpoint, targets: new Map<number, number>() };
      for (const { port, targetPort } of targets) known.targets.set(port, targetPort);
      merged.set(key, known);
    }
  }
  return [...merged].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint); // I2
}

/** One family, or pods with two addresses would count twice. */
function familyOf(
  { family }: KubernetesService,
  slices: readonly PackedSlice[],
): PackedSlice["family"] | undefined {
  const has = (wanted: PackedSlice["family"]): boolean =>
    slices.some((slice) => slice.family === wanted);
  if (family !== undefined && has(family)) return family;
  return has("IPv4") ? "IPv4" : "IPv6";
}

/** Ports of a slice belong to the Service's ports of the same names. */
function targetsOf(
  { ports }: KubernetesService,
  slicePorts: readonly { readonly name: string; readonly port: number }[],
): ServicePort[] {
  return ports.flatMap(({ name, port }) => {
    const found = slicePorts.find((each) => each.name === name);
    return found === undefined ? [] : [{ name, port, targetPort: found.port }];
  });
}

/** The target port that most endpoints have for a port; the lowest of several. */
function usualTarget(port: number, endpoints: readonly MergedEndpoint[]): number | undefined {
  const counts = new Map<number, number>();
  for (const { targets } of endpoints) {
    const target = targets.get(port);
    if (target !== undefined) counts.set(target, (counts.get(target) ?? 0) + 1);
  }
  const [best] = [...counts].sort(([a, left], [b, right]) => right - left || a - b);
  return best?.[0];
}

function toEndpoint(endpoint: MergedEndpoint, { pods, node }: Surroundings): CatalogEndpoint {
  const { address, uid, targets } = endpoint;
  const claimed = pods.get(uid);
  if (claimed !== undefined && isAt(endpoint, claimed)) {
    return { pod: uid, isKnown: true, address, node, ports: targets };
  }
  // Pods of other nodes are not known here, so their UIDs are taken as names and as nothing else.
  const isElsewhere = endpoint.node !== node && claimed === undefined && uid !== "";
  const pod = isElsewhere ? uid : strangerName(address);
  return { pod, isKnown: false, address, node: endpoint.node, ports: targets };
}

function isAt(
  { uid, address }: Pick<SliceEndpoint, "uid" | "address">,
  pod: Pick<LocalPod, "uid" | "addresses">,
): boolean {
  return uid === pod.uid && pod.addresses.includes(address);
}

/** Like no UID of Kubernetes. */
function strangerName(address: string): string {
  return `ip-${address.replaceAll(":", "-")}`;
}
