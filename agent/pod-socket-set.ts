import { Backoff } from "../common/backoff.ts";
import type { Clock } from "../common/clock.ts";
import { toShimmyError, type ShimmyError } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import type { ReportMessage } from "./api.ts";
import type { Catalog, CatalogPod } from "./catalog.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { PodSockets } from "./pod-sockets.ts";
import type { PodListeners, SocketPlace } from "./socket-place.ts";

/** What a {@link PodSocketSet} works with. */
export interface PodSocketSetDeps {
  readonly place: SocketPlace;
  /** Serves a pod's sockets where they are; closes the listeners also when it fails. */
  readonly open: (pod: CatalogPod, listeners: PodListeners) => Promise<PodSockets>;
  readonly catalog: () => Catalog;
  readonly metrics: AgentMetrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A pod whose sockets could not be had. */
interface Failure {
  readonly error: ShimmyError;
  readonly backoff: Backoff;
  readonly retryAt: number;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;

/** The sockets of all pods of the node, as the catalog lists them. */
export class PodSocketSet {
  readonly #deps: PodSocketSetDeps;
  readonly #sockets = new Map<string, PodSockets>();
  readonly #failures = new Map<string, Failure>();
  #work: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(deps: PodSocketSetDeps) {
    this.#deps = deps;
  }

  /** Pods whose sockets could not be opened, and why; tried again. */
  get failures(): { pod: string; error: string }[] {
    return [...this.#failures].map(([pod, { error }]) => ({ pod, error: error.message }));
  }

  /** Whether there are pods that should have sockets and have none, for want of a process too. */
  get isIncomplete(): boolean {
    return this.#wanted().some(({ uid }) => !this.#sockets.has(uid));
  }

  /** What the sidecar of a pod reported last, while it is connected. */
  reportOf(pod: string): ReportMessage | undefined {
    return this.#sockets.get(pod)?.report;
  }

  /**
   * Opens and closes sockets until they are those of the present catalog, and tells everybody
   * connected of it. One at a time.
   */
  reconcile(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#removeUnwanted();
      for (const pod of this.#wanted()) {
        await this.#ensure(pod);
        this.#sockets.get(pod.uid)?.catalogChanged();
      }
    });
  }

  /** Looks whether sockets are where their pods are, and tries again what failed. One at a time. */
  check(): Promise<void> {
    return this.#enqueue(async () => {
      const now = this.#deps.clock.now();
      for (const pod of this.#wanted()) {
        if ((this.#failures.get(pod.uid)?.retryAt ?? 0) <= now) await this.#ensure(pod);
      }
    });
  }

  /** Closes all of them, for good. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#work;
    await Promise.all([...this.#sockets.values()].map((sockets) => sockets.close()));
    this.#sockets.clear();
  }

  #enqueue(step: () => Promise<void>): Promise<void> {
    this.#work = this.#work
      .then(async () => {
        if (!this.#isClosed) await step();
      })
      .catch((err: unknown) => {
        this.#deps.log.error({ err }, "sockets of pods not looked after");
      });
    return this.#work;
  }

  #wanted(): CatalogPod[] {
    const { node, pods } = this.#deps.catalog();
    return [...pods.values()].filter((pod) => pod.node === node && pod.injected);
  }

  async #removeUnwanted(): Promise<void> {
    const wanted = new Set(this.#wanted().map(({ uid }) => uid));
    for (const uid of this.#sockets.keys()) if (!wanted.has(uid)) await this.#remove(uid);
    for (const uid of this.#failures.keys()) if (!wanted.has(uid)) this.#failures.delete(uid);
  }

  async #ensure(pod: CatalogPod): Promise<void> {
    try {
      const before = this.#sockets.get(pod.uid)?.listeners;
      const listeners = await this.#deps.place.find(pod, before);
      if (listeners !== before) await this.#replace(pod, listeners);
      this.#failures.delete(pod.uid);
    } catch (err) {
      this.#failed(pod.uid, toShimmyError(err));
    }
  }

  /** @param listeners - `undefined` when there is no place for the pod's sockets any more. */
  async #replace(pod: CatalogPod, listeners: PodListeners | undefined): Promise<void> {
    await this.#remove(pod.uid);
    if (listeners === undefined) return;
    this.#sockets.set(pod.uid, await this.#deps.open(pod, listeners));
    this.#deps.metrics.podSockets.inc({ result: "opened" });
    this.#deps.log.debug({ pod: pod.uid }, "sockets opened");
  }

  async #remove(uid: string): Promise<void> {
    const sockets = this.#sockets.get(uid);
    if (sockets === undefined) return;
    this.#sockets.delete(uid);
    await sockets.close();
    this.#deps.metrics.podSockets.inc({ result: "closed" });
    this.#deps.log.debug({ pod: uid }, "sockets closed");
  }

  /** The same trouble is told once, not at every attempt. */
  #failed(pod: string, error: ShimmyError): void {
    const { clock, log, metrics } = this.#deps;
    const before = this.#failures.get(pod);
    const backoff =
      before?.backoff ?? new Backoff({ initialMs: FIRST_RETRY_MS, maxMs: LONGEST_RETRY_MS });
    this.#failures.set(pod, { error, backoff, retryAt: clock.now() + backoff.next() });
    metrics.podSockets.inc({ result: error.code });
    const fields = { pod, code: error.code, err: error };
    if (before?.error.message === error.message) log.debug(fields, "still no sockets for a pod");
    else log.error(fields, "no sockets for a pod");
  }
}
