import type { Grant, PodIdentity, ServicePort } from "./api.ts";
import type { ConnectionRules } from "./catalog-rules.ts";
import type { TopicRules } from "./channels/topic-rules.ts";

/** How the kernel's word about a process tells that it belongs to a pod. */
export type ProcessIdentity =
  /** Local mode: these users may be the pod. */
  | { readonly kind: "user"; readonly runAs: ReadonlySet<number> }
  /** Kubernetes: the process's cgroup names the pod's UID. */
  | { readonly kind: "pod" };

/** A pod, with all that policy asks of it. */
export interface CatalogPod extends PodIdentity {
  /** Where its application listens. */
  readonly address: string;
  /** Which processes may be this pod. */
  readonly identity: ProcessIdentity;
  readonly injected: boolean;
  /** Ports that connections may be delivered to. */
  readonly appPorts: readonly number[];
  /** Services it backs, as `namespace/name`, sorted. */
  readonly services: readonly string[];
  /** What may be called of it, if policy allows; sorted by service and port. */
  readonly backings: readonly Backing[];
}

/** A target port of a pod that ports of a service lead to. */
export interface Backing extends Grant {
  /** Those ports of the service. */
  readonly servicePorts: readonly Pick<ServicePort, "name" | "port">[];
}

/** One endpoint of a service. */
export interface CatalogEndpoint {
  /** UID of a pod; what tells it from others when it is none that is known. */
  readonly pod: string;
  /** Whether `pod` is in the catalog and is what is reached at `address`. */
  readonly isKnown: boolean;
  readonly address: string;
  readonly node: string;
  /** Target ports by port of the service; one that is not in it cannot be called here. */
  readonly ports: ReadonlyMap<number, number>;
}

/** A service and what is behind it. */
export interface CatalogService {
  /** `namespace/name`. */
  readonly key: string;
  readonly namespace: string;
  /** With the target port that most endpoints have. */
  readonly ports: readonly ServicePort[];
  readonly endpoints: readonly CatalogEndpoint[];
  /** Whether each client is to stay with one endpoint. */
  readonly isSticky: boolean;
  /** Why there is nothing to call, when more can be said than that there are no endpoints. */
  readonly problem?: string;
}

/** Services by `namespace/name`. */
export type ServiceLookup = Pick<ReadonlyMap<string, CatalogService>, "get" | "size">;

/**
 * What is known of pods and services. A change makes a new one; a pod, service or set of rules that
 * did not change is the same object in both.
 */
export interface Catalog {
  /** The node this agent serves. */
  readonly node: string;
  /** By UID. */
  readonly pods: ReadonlyMap<string, CatalogPod>;
  /** One that nobody has asked for yet may be looked up in what is known by then. */
  readonly services: ServiceLookup;
  readonly rules: ConnectionRules;
  readonly topics: TopicRules;
}

/** What a pod is told of another. */
export function identityOf({ uid, namespace, name, node, addresses }: CatalogPod): PodIdentity {
  return { uid, namespace, name, node, addresses };
}

/** `namespace/name` of a pod or service. */
export function keyOf({ namespace, name }: { namespace: string; name: string }): string {
  return `${namespace}/${name}`;
}

/** The target ports of one service, each once, with the service's ports that lead to it. */
export function backingsOf(service: string, ports: readonly ServicePort[]): Backing[] {
  const byTarget = Map.groupBy(ports, ({ targetPort }) => targetPort);
  return [...byTarget].map(([port, servicePorts]) => ({
    service,
    port,
    servicePorts: servicePorts.map(({ name, port: number }) => ({ name, port: number })),
  }));
}

/** The order of {@link CatalogPod.backings}. */
export function sortBackings(backings: readonly Backing[]): Backing[] {
  return backings.toSorted((a, b) => compare(a.service, b.service) || a.port - b.port);
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
