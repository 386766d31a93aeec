import type { Clock } from "../../common/clock.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { RESOURCES, resourcePath } from "../../common/kubernetes/resources.ts";
import type { Logger } from "../../common/log.ts";
import { Poller, type PollerTimes } from "./poller.ts";

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
const TIMES: PollerTimes = { refreshMs: 600_000, retryMs: 10_000 };

/** The zone of this node, for Services that prefer their clients' zone. */
export class NodeZone {
  readonly #options: NodeZoneOptions;
  readonly #poller: Poller;
  #value: string | undefined;

  constructor(options: NodeZoneOptions) {
    this.#options = options;
    const read = (signal: AbortSignal): Promise<void> => this.#read(signal);
    this.#poller = new Poller({ ...options, what: "zone of the node", read, times: TIMES });
  }

  /** `undefined` when it has none, or it is not known yet. */
  get value(): string | undefined {
    return this.#value;
  }

  /** Begins to look, now and from time to time. */
  start(): void {
    this.#poller.start();
  }

  close(): Promise<void> {
    return this.#poller.close();
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { api, nodeName: name, onChange } = this.#options;
    const path = resourcePath(RESOURCES.nodes, { name });
    const { metadata } = (await api.request({ path, signal })) as KubernetesObject;
    const zone = metadata.labels?.[ZONE_LABEL];
    const isOther = zone !== this.#value;
    this.#value = zone;
    if (isOther) onChange();
  }
}
