import type { Clock } from "../../common/clock.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import { ListWatch, type ListWatchLimits } from "../../common/kubernetes/list-watch.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { RESOURCES, type Resource } from "../../common/kubernetes/resources.ts";
import { CLUSTER_CONFIG_NAME } from "../../common/kubernetes/vocabulary.ts";
import type { Logger } from "../../common/log.ts";
import type { AgentMetrics } from "../metrics.ts";
import { takeGrants, type ObjectGrants } from "./connection-grants.ts";
import { sliceTaker, type PackedSlice } from "./endpoint-slice.ts";
import { takeLocalPod, type LocalPod } from "./local-pod.ts";
import { takeNamespace, type NamespaceState } from "./namespace.ts";
import { takePolicy, type KeptPolicy } from "./network-policies.ts";
import { takeService, type KubernetesService } from "./service.ts";
import { takeClusterSwitch, type ClusterSwitch } from "./transport-switch.ts";

/** Options for {@link ClusterCaches}. */
export interface ClusterCachesOptions {
  readonly api: KubernetesApi;
  readonly nodeName: string;
  /** Namespace of Shimmy's own parts. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: AgentMetrics;
  readonly limits?: Partial<ListWatchLimits>;
  /** Called for each object that came, changed or went. */
  readonly onChange: (kind: CacheName, key: string) => void;
}

/** The copies, each by `namespace/name` or name. */
export interface Caches {
  /** Of this node. */
  readonly pods: ListWatch<LocalPod>;
  readonly namespaces: ListWatch<NamespaceState>;
  readonly services: ListWatch<KubernetesService>;
  readonly endpointSlices: ListWatch<PackedSlice>;
  readonly networkPolicies: ListWatch<KeptPolicy>;
  /** Those that grant connections or roles. */
  readonly sharedMemoryObjects: ListWatch<ObjectGrants>;
  /** The settings of the cluster. */
  readonly configMaps: ListWatch<ClusterSwitch>;
}

/** Name of a cache; a metric label. */
export type CacheName = keyof Caches;

/** One cache as metrics and health show it. */
export interface CacheState {
  readonly name: CacheName;
  readonly isSynced: boolean;
  readonly objects: number;
  /** Time since the API server was last heard about it, in milliseconds. */
  readonly silentMs: number;
}

/** Caches that say who may call whom. */
const POLICY_CACHES: readonly CacheName[] = [
  "pods",
  "namespaces",
  "networkPolicies",
  "sharedMemoryObjects",
];

/** Slices are the many, and large while they are read: fewer at a time keep the peak low. */
const SLICES_PER_PAGE = 200;

/** All that an agent follows of the cluster, each kind with no more than is looked at. */
export class ClusterCaches {
  readonly all: Caches;

  constructor(options: ClusterCachesOptions) {
    this.all = makeCaches(options);
  }

  /** State of each. */
  states(): CacheState[] {
    return this.#entries().map(([name, { isSynced, items, silentMs }]) => ({
      name,
      isSynced,
      objects: items.size,
      silentMs,
    }));
  }

  /** State of those that say who may call whom. */
  policyStates(): CacheState[] {
    return this.states().filter(({ name }) => POLICY_CACHES.includes(name));
  }

  start(): void {
    for (const [, cache] of this.#entries()) cache.start();
  }

  /** Settles when there was a whole list of each kind. */
  async synced(): Promise<void> {
    await Promise.all(this.#entries().map(([, cache]) => cache.synced));
  }

  async close(): Promise<void> {
    await Promise.all(this.#entries().map(([, cache]) => cache.close()));
  }

  #entries(): [CacheName, ListWatch<unknown>][] {
    return Object.entries(this.all) as [CacheName, ListWatch<unknown>][];
  }
}

function makeCaches(options: ClusterCachesOptions): Caches {
  const { api, nodeName, namespace, clock, log, metrics, onChange } = options;
  const follow = <T>(
    name: CacheName,
    take: (object: KubernetesObject) => T | undefined,
    narrow: { fieldSelector?: string; namespace?: string; pageSize?: number } = {},
  ): ListWatch<T> => {
    const resource: Resource = RESOURCES[name];
    const { pageSize, ...scope } = narrow;
    return new ListWatch<T>({
      api,
      resource,
      ...scope,
      take,
      onChange: (key) => {
        onChange(name, key);
      },
      onEvent: (event) => {
        metrics.watchEvents.inc({ resource: resource.plural, event });
      },
      clock,
      log,
      limits: { ...(pageSize === undefined ? {} : { pageSize }), ...options.limits },
    });
  };
  return {
    pods: follow("pods", takeLocalPod, { fieldSelector: `spec.nodeName=${nodeName}` }),
    namespaces: follow("namespaces", takeNamespace),
    services: follow("services", takeService),
    endpointSlices: follow("endpointSlices", sliceTaker(nodeName), { pageSize: SLICES_PER_PAGE }),
    networkPolicies: follow("networkPolicies", takePolicy),
    sharedMemoryObjects: follow("sharedMemoryObjects", takeGrants),
    configMaps: follow("configMaps", takeClusterSwitch, {
      namespace,
      fieldSelector: `metadata.name=${CLUSTER_CONFIG_NAME}`,
    }),
  };
}
