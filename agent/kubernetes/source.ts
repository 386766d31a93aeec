// The agent's knowledge of a cluster.
//
//   I1  nothing is said before everything was read once: what is not read yet would look as if it
//       were gone, and sessions that sidecars show after a restart would be revoked
//   I2  what is known stays in force while the API server cannot be asked; nothing new is granted by
//       it once it is older than STALE_MS
//   I3  what follows from a change is told within GATHER_MS, once
import { isDeepStrictEqual } from "node:util";
import { setFlagsFromString } from "node:v8";

import type { Clock } from "../../common/clock.ts";
import { ShimmyError } from "../../common/errors.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import type { ListWatchLimits } from "../../common/kubernetes/list-watch.ts";
import { SYSTEM_NAMESPACE } from "../../common/kubernetes/vocabulary.ts";
import type { Logger } from "../../common/log.ts";
import type { Catalog, CatalogPod } from "../catalog.ts";
import type { ConnectionRules } from "../catalog-rules.ts";
import type { CatalogSource } from "../catalog-source.ts";
import { addCacheGauges, type AgentMetrics } from "../metrics.ts";
import { ClusterCaches, type CacheName } from "./caches.ts";
import { CatalogPods } from "./catalog-pods.ts";
import { ConnectionGrants } from "./connection-grants.ts";
import { ForeignPolicies } from "./foreign-policies.ts";
import type { LocalPod } from "./local-pod.ts";
import { networkJudge } from "./network-policies.ts";
import { NodeStatus } from "./node-status.ts";
import { NodeZone } from "./node-zone.ts";
import type { PollerTimes } from "./poller.ts";
import { KubernetesRules } from "./rules.ts";
import { ServiceResolver } from "./service-resolver.ts";
import { SliceIndex } from "./slice-index.ts";
import { KubernetesTopicRules } from "./topic-grants.ts";

/** Options for {@link openKubernetesCatalog}. */
export interface KubernetesCatalogOptions {
  /** This node. */
  readonly nodeName: string;
  readonly api: KubernetesApi;
  /** Namespace of Shimmy's own parts. @defaultValue shimmy-system */
  readonly namespace?: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: AgentMetrics;
  /** Roles that processes of this node have in channels. @defaultValue none */
  readonly attached?: () => number;
  /** Called with each new catalog, from {@link CatalogSource.watch} on. */
  readonly onChange: (catalog: Catalog) => void;
  readonly limits?: Partial<ListWatchLimits>;
  /** @defaultValue every minute, 5 s after a failure */
  readonly times?: PollerTimes;
  /** Longest time until everything is read, before it goes on without. @defaultValue 10 s */
  readonly firstReadMs?: number;
}

/** A source whose end can be waited for. */
export interface KubernetesCatalogSource extends CatalogSource {
  /** Closes it. @returns When nothing is asked of the API server any more. */
  closed(): Promise<void>;
}

const FIRST_READ_MS = 10_000;
const GATHER_MS = 100;
/** What was not heard about for so long may be otherwise by now. */
const STALE_MS = 120_000;
const STALE_CHECK_MS = 1000;

/**
 * Begins to follow the cluster.
 *
 * @returns When everything was read once, or after {@link KubernetesCatalogOptions.firstReadMs}
 * with an empty catalog and {@link CatalogSource.error} set; it goes on trying.
 */
export async function openKubernetesCatalog(
  options: KubernetesCatalogOptions,
): Promise<KubernetesCatalogSource> {
  // Pages of lists die young. With 10,000 slices of 10 endpoints in pages of 100, and 250 pods, the
  // peak was 181 MiB so, and 236 MiB where the young generation may grow (TypeScript, not dist/).
  setFlagsFromString("--semi-space-growth-factor=1");
  const source = new KubernetesCatalog(options);
  await source.firstRead();
  return source;
}

class KubernetesCatalog implements KubernetesCatalogSource {
  readonly #options: KubernetesCatalogOptions;
  readonly #caches: ClusterCaches;
  readonly #foreign: ForeignPolicies;
  readonly #zone: NodeZone;
  readonly #status: NodeStatus;
  readonly #slices = new SliceIndex();
  readonly #services: ServiceResolver;
  readonly #pods: CatalogPods;
  readonly #dirtyPods = new Set<string>();
  readonly #reading: Promise<void>;
  readonly #cancelStaleCheck: () => void;
  #localPods: ReadonlyMap<string, LocalPod> = new Map();
  #areRulesOld = true;
  #isStale = true;
  #isRead = false;
  #isWatched = false;
  #closed: Promise<void> | undefined;
  #cancelGathering: (() => void) | undefined;
  #topics = NO_TOPICS;
  #catalog: Catalog;
  #loadedAt = new Date();

  constructor(options: KubernetesCatalogOptions) {
    this.#options = options;
    const { nodeName: node, namespace = SYSTEM_NAMESPACE, metrics, clock } = options;
    this.#caches = new ClusterCaches({
      ...options,
      namespace,
      onChange: (name, key) => {
        this.#note(name, key);
      },
    });
    this.#foreign = new ForeignPolicies({
      ...options,
      onChange: () => {
        this.#gatherRules();
      },
    });
    this.#zone = new NodeZone({
      ...options,
      onChange: () => {
        this.#services.forgetAll();
        this.#gather();
      },
    });
    const services = this.#caches.all.services.items;
    this.#services = new ServiceResolver({
      services,
      slices: this.#slices,
      surroundings: () => ({ pods: this.#localPods, node, zone: this.#zone.value }),
    });
    this.#pods = new CatalogPods({ services, slices: this.#slices });
    this.#status = new NodeStatus({ ...options, problem: () => this.error?.message });
    this.#catalog = unknownCatalog(node);
    addCacheGauges(metrics, {
      caches: () => this.#caches.states(),
      isStale: () => this.#isStale,
      foreignKinds: () => this.#foreign.kinds.length,
    });
    this.#reading = this.#read();
    this.#cancelStaleCheck = clock.every(STALE_CHECK_MS, () => {
      if (this.#isRead && this.#silent().length > 0 !== this.#isStale) this.#gatherRules();
    });
  }

  get catalog(): Catalog {
    return this.#catalog;
  }

  get loadedAt(): Date {
    return this.#loadedAt;
  }

  get error(): ShimmyError | undefined {
    const unread = this.#caches.states().filter(({ isSynced }) => !isSynced);
    const names: string[] = unread.map(({ name }) => name);
    if (!this.#foreign.isSynced) names.push("kinds of policy");
    if (names.length > 0) return failure(`not read yet: ${names.join(", ")}`);
    const silent = this.#silent();
    if (silent.length === 0) return undefined;
    return failure(`nothing heard for ${STALE_MS / 1000} s of ${silent.join(", ")}`);
  }

  /** Settles at the first whole reading, or when that takes too long. */
  async firstRead(): Promise<void> {
    const { clock, firstReadMs = FIRST_READ_MS, log } = this.#options;
    const late = Promise.withResolvers<undefined>();
    const cancel = clock.after(firstReadMs, () => {
      late.resolve(undefined);
    });
    await Promise.race([this.#reading, late.promise]);
    cancel();
    if (!this.#isRead) log.warn({ problem: this.error?.message }, "cluster not read yet");
  }

  watch(): void {
    this.#isWatched = true;
    this.#status.start();
    // Whatever came since the catalog was looked at.
    this.#gather();
  }

  close(): void {
    void this.closed();
  }

  closed(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#cancelGathering?.();
    this.#cancelStaleCheck();
    const parts = [this.#caches, this.#foreign, this.#zone, this.#status];
    await Promise.all(parts.map((part) => part.close()));
  }

  async #read(): Promise<void> {
    this.#caches.start();
    this.#foreign.start();
    this.#zone.start();
    await Promise.all([this.#caches.synced(), this.#foreign.synced]);
    this.#isRead = true; // I1
    this.#apply();
    const { pods } = this.#catalog;
    const services = this.#services.size;
    this.#options.log.info({ pods: pods.size, services }, "cluster read");
    // Whoever could not wait for it has an empty catalog.
    this.#gather();
  }

  #note(name: CacheName, key: string): void {
    if (name === "endpointSlices") this.#noteSlice(key);
    else if (name === "services") this.#noteService(key);
    else if (name === "pods") this.#gather();
    else this.#gatherRules();
  }

  #noteSlice(key: string): void {
    const slice = this.#caches.all.endpointSlices.items.get(key);
    const { services, uids } = this.#slices.update(key, slice);
    const ours = [...uids].filter((uid) => this.#localPods.has(uid));
    for (const uid of ours) this.#dirtyPods.add(uid);
    // Nearly all changes are of Services that nobody here has anything to do with.
    if (this.#services.forget(services) || ours.length > 0) this.#gather();
  }

  #noteService(key: string): void {
    const uids = this.#slices.of(key).flatMap(({ localUids }) => localUids);
    for (const uid of uids) this.#dirtyPods.add(uid);
    this.#services.forget([key]);
    // A new one may have been asked for when it did not exist.
    this.#gather();
  }

  #gatherRules(): void {
    this.#areRulesOld = true;
    this.#gather();
  }

  #gather(): void {
    if (!this.#isRead || this.#closed !== undefined) return;
    this.#cancelGathering ??= this.#options.clock.after(GATHER_MS, () => {
      this.#cancelGathering = undefined;
      this.#apply();
      if (this.#isWatched) this.#options.onChange(this.#catalog);
    });
  }

  #apply(): void {
    this.#readLocalPods();
    const changed = this.#pods.update(this.#localPods, this.#dirtyPods);
    this.#dirtyPods.clear();
    const before = this.#catalog.pods;
    const pods = this.#pods.snapshot();
    for (const uid of changed) this.#forgetServicesOf(uid, [before.get(uid), pods.get(uid)]);
    if (this.#areRulesOld) this.#topics = this.#makeTopics();
    const rules = this.#areRulesOld ? this.#makeRules() : this.#catalog.rules;
    const topics = this.#topics;
    this.#catalog = { node: this.#options.nodeName, pods, services: this.#services, rules, topics };
    this.#loadedAt = new Date();
  }

  /** A pod that is as it was stays the same object. */
  #readLocalPods(): void {
    const next = new Map<string, LocalPod>();
    for (const pod of this.#caches.all.pods.items.values()) {
      const before = this.#localPods.get(pod.uid);
      const isSame = isDeepStrictEqual(before, pod);
      next.set(pod.uid, isSame && before !== undefined ? before : pod);
      if (!isSame) this.#areRulesOld = true;
    }
    this.#areRulesOld ||= next.size !== this.#localPods.size;
    this.#localPods = next;
  }

  /** What was said of a pod's Services says things of the pod. */
  #forgetServicesOf(uid: string, states: readonly (CatalogPod | undefined)[]): void {
    this.#services.forget(this.#slices.naming(uid).map(({ service }) => service));
    for (const pod of states) {
      this.#services.forget((pod?.backings ?? []).map(({ service }) => service));
    }
  }

  #makeTopics(): KubernetesTopicRules {
    const { sharedMemoryObjects } = this.#caches.all;
    const channels = [...sharedMemoryObjects.items.values()].flatMap(({ channel }) =>
      channel === undefined ? [] : [channel],
    );
    return new KubernetesTopicRules({ channels, pods: this.#localPods });
  }

  #makeRules(): KubernetesRules {
    const { namespaces, networkPolicies, sharedMemoryObjects, configMaps } = this.#caches.all;
    this.#areRulesOld = false;
    const silent = this.#silent();
    this.#noteStaleness(silent);
    return new KubernetesRules({
      pods: this.#localPods,
      grants: new ConnectionGrants(sharedMemoryObjects.items.values()),
      judgeNetwork: networkJudge({
        policies: networkPolicies.items.values(),
        namespaces: namespaces.items,
        areBlocksForPods: this.#foreign.areBlocksForPods,
      }),
      isForeign: this.#foreign.test,
      isClusterOff: [...configMaps.items.values()].some(({ isOff }) => isOff),
      namespacesOff: new Set(
        [...namespaces.items].filter(([, { isOff }]) => isOff).map(([name]) => name),
      ),
      isStale: silent.length > 0,
    });
  }

  #noteStaleness(silent: readonly string[]): void {
    const isStale = silent.length > 0;
    if (isStale && !this.#isStale) this.#options.log.warn({ silent }, "policy may be old");
    if (!isStale && this.#isStale) this.#options.log.info("policy is known");
    this.#isStale = isStale;
  }

  /** Kinds that say who may call whom, of which nothing was heard for too long (I2). */
  #silent(): string[] {
    const caches = this.#caches.policyStates().filter(({ silentMs }) => silentMs > STALE_MS);
    const names: string[] = caches.map(({ name }) => name);
    if (this.#foreign.silentMs > STALE_MS) names.push("kinds of policy");
    return names;
  }
}

const NO_TOPICS = new KubernetesTopicRules({ channels: [], pods: new Map() });

/** Nobody, nothing, and no leave to do anything. */
function unknownCatalog(node: string): Catalog {
  const rules: ConnectionRules = {
    isStale: true,
    isOff: () => false,
    check: () => "policy_unknown",
  };
  return { node, pods: new Map(), services: new Map(), rules, topics: NO_TOPICS };
}

function failure(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_KUBERNETES_API", message);
}
