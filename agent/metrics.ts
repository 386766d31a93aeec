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
}

/** What gauges are read from when metrics are collected. */
export interface AgentGauges {
  readonly sessions: () => number;
  readonly sidecars: () => number;
  readonly pods: () => number;
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
}
