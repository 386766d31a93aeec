// Kinds of policy that Shimmy cannot evaluate: which of them the API server has, and whose pods they
// may be about. Looked for again and again, because kinds come with CustomResourceDefinitions.
import { isDeepStrictEqual } from "node:util";

import type { Clock } from "../../common/clock.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import type { Logger } from "../../common/log.ts";
import type { PolicyPod } from "../network-policy/engine.ts";
import { findForeignKinds, type ForeignFindings } from "./foreign-discovery.ts";
import { Poller, type PollerTimes } from "./poller.ts";

/** Options for {@link ForeignPolicies}. */
export interface ForeignPoliciesOptions {
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when what is in force is not what it was. */
  readonly onChange: () => void;
  /** When they are looked for again. @defaultValue every minute, 5 s after a failure */
  readonly times?: PollerTimes;
}

const TIMES: PollerTimes = { refreshMs: 60_000, retryMs: 5000 };

/** Follows kinds of policy that cannot be evaluated. */
export class ForeignPolicies {
  readonly #options: ForeignPoliciesOptions;
  readonly #poller: Poller;
  readonly #synced = Promise.withResolvers<undefined>();
  #found: ForeignFindings = { kinds: [], areBlocksForPods: true };
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(options: ForeignPoliciesOptions) {
    this.#options = options;
    const { clock, log, times = TIMES } = options;
    const read = (signal: AbortSignal): Promise<void> => this.#read(signal);
    this.#poller = new Poller({ what: "kinds of policy", read, times, clock, log });
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
    this.#poller.start();
  }

  close(): Promise<void> {
    return this.#poller.close();
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { api, clock, log, onChange } = this.#options;
    const found = await findForeignKinds((path, query = {}) =>
      api.request({ path, query, signal }),
    );
    const isOther = !isDeepStrictEqual(found, this.#found);
    this.#found = found;
    this.#readAt = clock.now();
    this.#synced.resolve(undefined);
    if (!isOther) return;
    log.info({ kinds: this.kinds }, "kinds of policy that cannot be evaluated");
    onChange();
  }
}
