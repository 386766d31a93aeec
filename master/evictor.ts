// Evicts pods that opted in and have no sidecar, so that their workload makes them anew. Only where
// somebody turned it on, and with care, because each eviction ends a program that works:
//
//   E1  one eviction in EVICT_EVERY_MS, in the whole cluster, tried or done; the first that long
//       after this process began to look
//   E2  one pod of a workload at a time: not before as many are ready again as before
//   E3  never a pod that nobody makes anew, nor one of a Job, for which it would be a failure
//   E4  never a pod that was made after another of its workload was evicted: it would go on for ever
//   E5  through the Eviction API, so that PodDisruptionBudgets are kept
import type { Clock } from "../common/clock.ts";
import { messageOf } from "../common/errors.ts";
import type { KubernetesApi } from "../common/kubernetes/api-client.ts";
import { ApiError } from "../common/kubernetes/api-error.ts";
import { RESOURCES, resourcePath } from "../common/kubernetes/resources.ts";
import type { Logger } from "../common/log.ts";
import type { EventRecorder } from "./events.ts";
import type { MasterMetrics } from "./metrics.ts";
import type { MasterPod } from "./world.ts";

/** Options for {@link Evictor}. */
export interface EvictorOptions {
  readonly api: KubernetesApi;
  readonly events: EventRecorder;
  readonly metrics: MasterMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Asked before every eviction. */
  readonly isLeading: () => boolean;
}

/** Time between two evictions. */
export const EVICT_EVERY_MS = 30_000;
/** A workload that was made smaller never has as many again. */
const RECOVERY_MS = 600_000;
/** Whose pods are made anew at once, wherever a sidecar may be had. */
const OWNERS: ReadonlySet<string> = new Set([
  "ReplicaSet",
  "ReplicationController",
  "StatefulSet",
  "DaemonSet",
]);

/** What is known of a workload, one of whose pods was evicted. */
interface Begun {
  /** Its pods at that time. */
  readonly uids: ReadonlySet<string>;
  ready: number;
  recoveredAt: number;
}

/** Evicts, one after another. */
export class Evictor {
  readonly #options: EvictorOptions;
  readonly #begun = new Map<string, Begun>();
  /** When a pod was tried last, by its UID; what was not tried yet comes first. */
  #tried = new Map<string, number>();
  #nextAt: number | undefined;
  #work: Promise<void> | undefined;

  constructor(options: EvictorOptions) {
    this.#options = options;
  }

  /**
   * Evicts one of the pods if it is time, and one may be.
   *
   * @param uninjected - Those that opted in and have no sidecar.
   * @param pods - All pods.
   */
  consider(uninjected: readonly MasterPod[], pods: Iterable<MasterPod>): void {
    const { clock, isLeading } = this.#options;
    if (!isLeading()) {
      this.#nextAt = undefined;
      return;
    }
    const now = clock.now();
    this.#nextAt ??= now + EVICT_EVERY_MS;
    if (now < this.#nextAt || this.#work !== undefined) return;
    const workloads = workloadsOf(pods);
    this.#forget(uninjected, workloads);
    const [chosen] = uninjected
      .filter((pod) => this.#mayEvict(pod, workloads))
      .toSorted((a, b) => this.#triedAt(a) - this.#triedAt(b));
    if (chosen === undefined) return;
    this.#nextAt = now + EVICT_EVERY_MS;
    this.#tried.set(chosen.uid, now);
    this.#work = this.#evict(chosen, workloads).finally(() => (this.#work = undefined));
  }

  /** Ends; an eviction that was asked for is waited for. */
  async close(): Promise<void> {
    await this.#work;
  }

  #triedAt({ uid }: MasterPod): number {
    return this.#tried.get(uid) ?? -Infinity;
  }

  /** What is gone is not kept. */
  #forget(uninjected: readonly MasterPod[], workloads: Workloads): void {
    const uids = new Set(uninjected.map(({ uid }) => uid));
    this.#tried = new Map([...this.#tried].filter(([uid]) => uids.has(uid)));
    for (const uid of this.#begun.keys()) if (!workloads.has(uid)) this.#begun.delete(uid);
  }

  #mayEvict({ uid, controller }: MasterPod, workloads: Workloads): boolean {
    if (controller === undefined || !OWNERS.has(controller.kind)) return false; // E3
    const own = workloads.get(controller.uid) ?? [];
    if (own.some(({ isTerminating }) => isTerminating)) return false; // E2
    const begun = this.#begun.get(controller.uid);
    if (begun === undefined) return true;
    if (!begun.uids.has(uid)) return false; // E4
    return readyIn(own) >= begun.ready || this.#options.clock.now() >= begun.recoveredAt; // E2
  }

  async #evict(pod: MasterPod, workloads: Workloads): Promise<void> {
    const { api, metrics, log } = this.#options;
    const { namespace, name, uid } = pod;
    try {
      await api.request({
        method: "POST",
        path: resourcePath(RESOURCES.pods, { namespace, name, subresource: "eviction" }),
        body: {
          apiVersion: "policy/v1",
          kind: "Eviction",
          metadata: { namespace, name },
          // Not another pod of this name.
          deleteOptions: { preconditions: { uid } },
        },
      });
    } catch (err) {
      // A budget does not allow it now.
      const isRefused = err instanceof ApiError && err.status === 429;
      metrics.evictions.inc({ result: isRefused ? "refused" : "failed" });
      log[isRefused ? "info" : "warn"]({ namespace, name, error: messageOf(err) }, "not evicted");
      return;
    }
    metrics.evictions.inc({ result: "evicted" });
    log.info({ namespace, name }, "evicted");
    this.#begin(pod, workloads);
    await this.#tell(pod);
  }

  #begin({ controller }: MasterPod, workloads: Workloads): void {
    if (controller === undefined) return;
    const own = workloads.get(controller.uid) ?? [];
    const begun = this.#begun.get(controller.uid);
    this.#begun.set(controller.uid, {
      uids: begun?.uids ?? new Set(own.map(({ uid }) => uid)),
      ready: readyIn(own),
      recoveredAt: this.#options.clock.now() + RECOVERY_MS,
    });
  }

  async #tell({ namespace, name, uid }: MasterPod): Promise<void> {
    await this.#options.events.record({
      type: "Normal",
      reason: "EvictedForSidecar",
      note: "the pod opted in and had no shimmy-sidecar: it was evicted, to be made anew with one",
      about: { apiVersion: "v1", kind: "Pod", namespace, name, uid },
    });
  }
}

/** Pods by the UID of their controller. */
type Workloads = ReadonlyMap<string, readonly MasterPod[]>;

function workloadsOf(pods: Iterable<MasterPod>): Workloads {
  const owned = [...pods].filter(({ controller }) => controller !== undefined);
  return Map.groupBy(owned, ({ controller }) => controller?.uid ?? "");
}

function readyIn(pods: readonly MasterPod[]): number {
  return pods.filter(({ isReady, isTerminating }) => isReady && !isTerminating).length;
}
