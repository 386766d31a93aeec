import type { Clock } from "../common/clock.ts";
import type { ClusterAccess } from "../common/kubernetes/access.ts";
import { ApiClient } from "../common/kubernetes/api-client.ts";
import { ListWatch } from "../common/kubernetes/list-watch.ts";
import type { KubernetesObject } from "../common/kubernetes/objects.ts";
import { RESOURCES } from "../common/kubernetes/resources.ts";
import type { Logger } from "../common/log.ts";
import type { NamespaceMetadata } from "./opt-in.ts";
import { isOurKey } from "./vocabulary.ts";

/** Options for {@link Namespaces}. */
export interface NamespacesOptions {
  readonly access: ClusterAccess;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Our keys on all namespaces, kept up to date, so that a review is answered from memory. What was
 * known stays known while the API server cannot be asked.
 */
export class Namespaces {
  readonly #api: ApiClient;
  readonly #watch: ListWatch<NamespaceMetadata>;

  constructor({ access, clock, log }: NamespacesOptions) {
    this.#api = new ApiClient(access);
    this.#watch = new ListWatch({
      api: this.#api,
      resource: RESOURCES.namespaces,
      take: takeNamespace,
      onChange: () => undefined,
      clock,
      log,
    });
    this.#watch.start();
  }

  /** Whether all of them have been read once. */
  get isSynced(): boolean {
    return this.#watch.isSynced;
  }

  /** What is known of one; `undefined` for one that was made a moment ago. */
  get(name: string): NamespaceMetadata | undefined {
    return this.#watch.items.get(name);
  }

  /** Stops following them. */
  async close(): Promise<void> {
    await this.#watch.close();
    await this.#api.close();
  }
}

function takeNamespace({ metadata }: KubernetesObject): NamespaceMetadata {
  const { labels = {}, annotations = {} } = metadata;
  return { labels: onlyOurs(labels), annotations: onlyOurs(annotations) };
}

function onlyOurs(entries: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(entries).filter(([key]) => isOurKey(key)));
}
