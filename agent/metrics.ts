import { Counter, Gauge, Registry } from "prom-client";

import { VERSION } from "../common/version.ts";

/** The agent's metrics; docs/reference/metrics.md has a row for each. Label sets are constant and small. */
export interface AgentMetrics {
  readonly registry: Registry;
  /** `result`: `granted`, `existing` or a fallback reason. */
  readonly sessionRequests: Counter<"result">;
  /** `reason`: why a session ended. */
  readonly sessionEnds: Counter<"reason">;
  /** `result`: `adopted` or `refused`. */
  readonly adoptions: Counter<"result">;
  /** `type`: of the message. */
  readonly messages: Counter<"type">;
  /** `code`: why a connection was closed by the agent. */
  readonly cutOff: Counter<"code">;
  /** `status`: of the reply. */
  readonly httpRequests: Counter<"status">;
  /** `result`: `loaded` or `refused`. */
  readonly catalogLoads: Counter<"result">;
  /** `result`: `opened`, `closed` or the code of the error. */
  readonly podSockets: Counter<"result">;
  /** `resource`: plural; `event`: what happened. */
  readonly watchEvents: Counter<"resource" | "event">;
  /** `result`: `written` or `failed`. */
  readonly statusWrites: Counter<"result">;
  /** `result`: `attached`, a topic reason or the code of the error. */
  readonly channelAttachments: Counter<"result">;
  /** `result`: `joined` or `failed`. */
  readonly channelLinks: Counter<"result">;
  /** `code`: why the agent ended an attachment. */
  readonly channelDetachments: Counter<"code">;
  /** `code`: of the error. */
  readonly registryErrors: Counter<"code">;
}

/** What gauges are read from when metrics are collected. */
export interface AgentGauges {
  readonly sessions: () => number;
  readonly sidecars: () => number;
  readonly pods: () => number;
  /** Whose sockets could not be opened. */
  readonly failedPods: () => number;
  readonly channels: () => number;
  readonly channelAttachments: () => number;
  readonly channelProcesses: () => number;
  readonly channelBytes: () => number;
}

/** What the gauges of an agent in a cluster are read from. */
export interface CacheGauges {
  readonly caches: () => readonly {
    readonly name: string;
    readonly objects: number;
    readonly silentMs: number;
  }[];
  readonly isStale: () => boolean;
  /** Kinds of policy in force that cannot be evaluated. */
  readonly foreignKinds: () => number;
}

/** Makes the agent's metrics, in a registry of their own. */
export function createAgentMetrics(): AgentMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, label: L): Counter<L> =>
    new Counter({ name: `shimmy_agent_${name}`, help, labelNames: [label], registers });
  new Gauge({
    name: "shimmy_agent_info",
    help: "Always 1; the version is a label.",
    labelNames: ["version"],
    registers,
  }).set({ version: VERSION }, 1);
  return {
    registry,
    sessionRequests: counter("session_requests_total", "Sessions asked for, by result.", "result"),
    sessionEnds: counter("session_ends_total", "Sessions that ended, by reason.", "reason"),
    adoptions: counter("adoptions_total", "Sessions shown after a reconnect, by result.", "result"),
    messages: counter("messages_total", "Messages received from sidecars, by type.", "type"),
    cutOff: counter("cut_off_total", "Connections closed by the agent, by error code.", "code"),
    httpRequests: counter("http_requests_total", "HTTP requests answered, by status.", "status"),
    catalogLoads: counter(
      "catalog_loads_total",
      "Changes of the catalog file, by result.",
      "result",
    ),
    podSockets: counter(
      "pod_sockets_total",
      "Pairs of sockets opened and closed for pods, and failures by error code.",
      "result",
    ),
    watchEvents: new Counter({
      name: "shimmy_agent_watch_events_total",
      help: "Lists and watches begun, errors, silent watches, and objects refused.",
      labelNames: ["resource", "event"],
      registers,
    }),
    statusWrites: counter(
      "node_status_writes_total",
      "Writes of the ShimmyNode's status, by result.",
      "result",
    ),
    channelAttachments: counter(
      "channel_attachments_total",
      "Channels asked to be attached, by result.",
      "result",
    ),
    channelLinks: counter(
      "channel_links_total",
      "Readers introduced to writers of channels, by result.",
      "result",
    ),
    channelDetachments: counter(
      "channel_detachments_total",
      "Attachments ended by the agent, by error code.",
      "code",
    ),
    registryErrors: counter(
      "registry_errors_total",
      "Records of channels not written to the registry, by error code.",
      "code",
    ),
  };
}

/** Adds the gauges, once there is something to read them from. */
export function addAgentGauges({ registry }: AgentMetrics, gauges: AgentGauges): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `shimmy_agent_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  gauge("sessions", "Sessions known now.", gauges.sessions);
  gauge("sidecars", "Sidecars connected now.", gauges.sidecars);
  gauge("pods", "Pods in the catalog.", gauges.pods);
  gauge("failed_pods", "Pods whose sockets could not be opened.", gauges.failedPods);
  gauge("channels", "Channels in use now.", gauges.channels);
  gauge("channel_attachments", "Roles that processes have in channels.", gauges.channelAttachments);
  gauge("channel_processes", "Processes connected that attach channels.", gauges.channelProcesses);
  gauge("channel_bytes", "Shared memory of channels lodged here, in bytes.", gauges.channelBytes);
}

/** Adds the gauges of an agent in a cluster. */
export function addCacheGauges({ registry }: AgentMetrics, gauges: CacheGauges): void {
  const registers = [registry];
  const byCache = (
    name: string,
    help: string,
    read: (cache: ReturnType<CacheGauges["caches"]>[number]) => number,
  ): void => {
    new Gauge({
      name: `shimmy_agent_${name}`,
      help,
      labelNames: ["cache"],
      registers,
      collect() {
        for (const cache of gauges.caches()) this.set({ cache: cache.name }, read(cache));
      },
    });
  };
  byCache("cache_objects", "Objects kept of each kind.", ({ objects }) => objects);
  byCache(
    "cache_silent_seconds",
    "Time since the API server was last heard about a kind.",
    ({ silentMs }) => silentMs / 1000,
  );
  new Gauge({
    name: "shimmy_agent_policy_stale",
    help: "Whether nothing new is granted because policy may be old: 1 or 0.",
    registers,
    collect() {
      this.set(Number(gauges.isStale()));
    },
  });
  new Gauge({
    name: "shimmy_agent_foreign_policy_kinds",
    help: "Kinds of policy in force that Shimmy cannot evaluate.",
    registers,
    collect() {
      this.set(gauges.foreignKinds());
    },
  });
}
