// Kinds of policy that Shimmy cannot evaluate: which of them the API server has, and whose pods they
// may be about. Looked for again and again, because kinds come with CustomResourceDefinitions.
import { isDeepStrictEqual } from "node:util";

import type { Clock } from "../../common/clock.ts";
import { messageOf } from "../../common/errors.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import type { Logger } from "../../common/log.ts";
import type { PolicyPod } from "../network-policy/engine.ts";
import { findForeignKinds, type ForeignFindings } from "./foreign-discovery.ts";

/** Options for {@link ForeignPolicies}. */
export interface ForeignPoliciesOptions {
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when what is in force is not what it was. */
  readonly onChange: () => void;
  readonly times?: DiscoveryTimes;
}

/** When kinds of policy are looked for again. */
export interface DiscoveryTimes {
  /** After an answer, in milliseconds. */
  readonly refreshMs: number;
  /** After a failure. */
  readonly retryMs: number;
}

const TIMES: DiscoveryTimes = { refreshMs: 60_000, retryMs: 5000 };
/** Follows kinds of policy that cannot be evaluated. */
export class ForeignPolicies {
  readonly #options: ForeignPoliciesOptions;
  readonly #stop = new AbortController();
  readonly #synced = Promise.withResolvers<undefined>();
  #cancelNext: () => void = () => undefined;
  #reading: Promise<void> = Promise.resolve();
  #found: ForeignFindings = { kinds: [], areBlocksForPods: true };
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(options: ForeignPoliciesOptions) {
    this.#options = options;
  }

  /** Whether they were looked for once. */
  get isSynced(): boolean {
    return this.#readAt !== Number.NEGATIVE_INFINITY;
  }

  /** Settles when they were looked for once. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** Time since the last answer, in milliseconds; infinite before. */
  get silentMs(): number {
    return this.#options.clock.now() - this.#readAt;
  }

  /** Names of those in force, as `plural.group`. */
  get kinds(): readonly string[] {
    return this.#found.kinds.map(({ name }) => name);
  }

  /** Whether an `ipBlock` of a NetworkPolicy is about pods. */
  get areBlocksForPods(): boolean {
    return this.#found.areBlocksForPods;
  }

  /** Whether one of them may be about one of these pods; goes by what is in force now. */
  get test(): (pods: readonly PolicyPod[]) => boolean {
    const { kinds } = this.#found;
    return (pods) =>
      kinds.some(
        ({ namespaces }) =>
          namespaces === undefined || pods.some(({ namespace }) => namespaces.has(namespace)),
      );
  }

  /** Begins to look, now and every minute. */
  start(): void {
    this.#reading = this.#read();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#cancelNext();
    await this.#reading;
  }

  async #read(): Promise<void> {
    const { api, clock, log, onChange, times = TIMES } = this.#options;
    const { signal } = this.#stop;
    let nextMs = times.refreshMs;
    try {
      const found = await findForeignKinds((path, query = {}) =>
        api.request({ path, query, signal }),
      );
      const isOther = !isDeepStrictEqual(found, this.#found);
      this.#found = found;
      this.#readAt = clock.now();
      this.#synced.resolve(undefined);
      if (isOther) {
        log.info({ kinds: this.kinds }, "kinds of policy that cannot be evaluated");
        onChange();
      }
    } catch (err) {
      nextMs = times.retryMs;
      if (!signal.aborted) log.warn({ error: messageOf(err) }, "kinds of policy not read");
    }
    if (signal.aborted) return;
    this.#cancelNext = clock.after(nextMs, () => {
      this.start();
    });
  }
}
