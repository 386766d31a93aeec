import type { Clock } from "../../common/clock.ts";
import { messageOf } from "../../common/errors.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { RESOURCES, resourcePath } from "../../common/kubernetes/resources.ts";
import type { Logger } from "../../common/log.ts";

/** Options for {@link NodeZone}. */
export interface NodeZoneOptions {
  readonly api: KubernetesApi;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onChange: () => void;
}

const ZONE_LABEL = "topology.kubernetes.io/zone";
/** A Node is large and its zone hardly ever changes. */
const REFRESH_MS = 600_000;
const RETRY_MS = 10_000;

/** The zone of this node, for Services that prefer their clients' zone. */
export class NodeZone {
  readonly #options: NodeZoneOptions;
  readonly #stop = new AbortController();
  #cancelNext: () => void = () => undefined;
  #reading: Promise<void> = Promise.resolve();
  #value: string | undefined;

  constructor(options: NodeZoneOptions) {
    this.#options = options;
  }

  /** `undefined` when it has none, or it is not known yet. */
  get value(): string | undefined {
    return this.#value;
  }

  /** Begins to look, now and from time to time. */
  start(): void {
    this.#reading = this.#read();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#cancelNext();
    await this.#reading;
  }

  async #read(): Promise<void> {
    const { api, nodeName: name, clock, log, onChange } = this.#options;
    const { signal } = this.#stop;
    let nextMs = REFRESH_MS;
    try {
      const path = resourcePath(RESOURCES.nodes, { name });
      const { metadata } = (await api.request({ path, signal })) as KubernetesObject;
      const zone = metadata.labels?.[ZONE_LABEL];
      const isOther = zone !== this.#value;
      this.#value = zone;
      if (isOther) onChange();
    } catch (err) {
      nextMs = RETRY_MS;
      if (!signal.aborted) log.warn({ error: messageOf(err) }, "zone of the node not read");
    }
    if (signal.aborted) return;
    this.#cancelNext = clock.after(nextMs, () => {
      this.start();
    });
  }
}
