// Status of this node's ShimmyNode, written by this agent and nobody else. The admission policy
// shimmy-node-status holds other nodes' agents to that.
import { isDeepStrictEqual } from "node:util";

import type { Clock } from "../../common/clock.ts";
import { messageOf } from "../../common/errors.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import { ListWatch, type ListWatchLimits } from "../../common/kubernetes/list-watch.ts";
import type { Condition, KubernetesObject } from "../../common/kubernetes/objects.ts";
import { RESOURCES, resourcePath } from "../../common/kubernetes/resources.ts";
import { checkShimmyNode, type ShimmyNode } from "../../common/kubernetes/shimmy-node.ts";
import { ShimmyError } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import { VERSION } from "../../common/version.ts";
import type { AgentMetrics } from "../metrics.ts";

/** Reasons of conditions; docs/reference/shimmy-node.md has a row for each. */
export const NODE_CONDITION_REASONS = {
  Ready: ["Ready", "CatalogUnknown"],
  Supported: ["Supported"],
} as const;

/** Options for {@link NodeStatus}. */
export interface NodeStatusOptions {
  readonly api: KubernetesApi;
  readonly nodeName: string;
  /** Why the agent cannot do its work; `undefined` when it can. */
  readonly problem: () => string | undefined;
  /** Roles that processes of this node have in channels. @defaultValue none */
  readonly attached?: () => number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: AgentMetrics;
  readonly limits?: Partial<ListWatchLimits>;
}

/** The object, with no more than is looked at. */
interface KeptNode {
  readonly generation: number;
  readonly status: NonNullable<ShimmyNode["status"]>;
}

/** What could not be written is tried again then, and conditions are looked at. */
const REFRESH_MS = 10_000;

/** Keeps the status of this node's ShimmyNode. */
export class NodeStatus {
  readonly #options: NodeStatusOptions;
  readonly #watch: ListWatch<KeptNode>;
  #writing: Promise<void> | undefined;
  #cancelRefreshing: (() => void) | undefined;

  constructor(options: NodeStatusOptions) {
    this.#options = options;
    const { api, nodeName, clock, log, metrics, limits = {} } = options;
    const resource = RESOURCES.shimmyNodes;
    this.#watch = new ListWatch({
      api,
      resource,
      fieldSelector: `metadata.name=${nodeName}`,
      take: takeNode,
      onChange: () => {
        this.refresh();
      },
      onEvent: (event) => {
        metrics.watchEvents.inc({ resource: resource.plural, event });
      },
      clock,
      log,
      limits,
    });
  }

  /** Begins to follow the object. */
  start(): void {
    this.#watch.start();
    this.#cancelRefreshing ??= this.#options.clock.every(REFRESH_MS, () => {
      this.refresh();
    });
  }

  /** Writes the status if it is not what it is to be. */
  refresh(): void {
    const found = this.#watch.items.get(this.#options.nodeName);
    if (found === undefined || this.#writing !== undefined) return;
    const { problem, attached = () => 0 } = this.#options;
    const now = { problem: problem(), attached: attached(), date: new Date() };
    const status = wantedStatus(found, now);
    if (isDeepStrictEqual(status, found.status)) return;
    this.#writing = this.#write(status).finally(() => {
      this.#writing = undefined;
    });
  }

  /** Ends; what is being written is finished. */
  async close(): Promise<void> {
    this.#cancelRefreshing?.();
    await this.#watch.close();
    await this.#writing;
  }

  async #write(status: KeptNode["status"]): Promise<void> {
    const { api, nodeName: name, log, metrics } = this.#options;
    try {
      // Nobody else writes it, so there is no version to compare.
      await api.request({
        method: "PATCH",
        path: resourcePath(RESOURCES.shimmyNodes, { name, subresource: "status" }),
        body: { status },
      });
      metrics.statusWrites.inc({ result: "written" });
    } catch (err) {
      metrics.statusWrites.inc({ result: "failed" });
      log.warn({ error: messageOf(err) }, "status of the ShimmyNode not written");
    }
  }
}

function takeNode(object: KubernetesObject): KeptNode {
  const checked = checkShimmyNode(object);
  if (checked.problem !== undefined) {
    throw new ShimmyError("SHIMMY_ERR_KUBERNETES_API", checked.problem);
  }
  const { metadata, status = {} } = checked.object;
  const { generation = 0 } = metadata;
  return { generation, status };
}

function wantedStatus(
  { generation, status }: KeptNode,
  { problem, attached, date }: { problem: string | undefined; attached: number; date: Date },
): KeptNode["status"] {
  const condition = (
    type: keyof typeof NODE_CONDITION_REASONS,
    holds: boolean,
    { reason, message }: { reason: string; message: string },
  ): Condition => {
    const before = status.conditions?.find((each) => each.type === type);
    const state = holds ? "True" : "False";
    return {
      type,
      status: state,
      reason,
      message,
      lastTransitionTime: before?.status === state ? before.lastTransitionTime : secondsOf(date),
      observedGeneration: generation,
    };
  };
  return {
    observedGeneration: generation,
    agentVersion: VERSION,
    attached,
    conditions: [
      condition("Ready", problem === undefined, ready(problem)),
      condition("Supported", true, SUPPORTED),
    ],
  };
}

function ready(problem: string | undefined): { reason: string; message: string } {
  const [good, bad] = NODE_CONDITION_REASONS.Ready;
  if (problem === undefined) return { reason: good, message: "the agent knows the cluster" };
  return { reason: bad, message: problem.slice(0, 1000) };
}

const SUPPORTED = {
  reason: NODE_CONDITION_REASONS.Supported[0],
  message: "channels are attached by the programs that want them",
};

/** Time of the API: whole seconds. */
function secondsOf(date: Date): string {
  return date.toISOString().replace(/\.\d{3}Z$/, "Z");
}
