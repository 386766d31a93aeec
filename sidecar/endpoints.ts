import type { ServiceEndpoint, ServiceEndpoints, ServicePort } from "../agent/api.ts";
import { didYouMean } from "../common/suggest.ts";
import type { RelayEndpoint, RelayUpstream } from "../shm-core/lib/relay.ts";
import type { TransportCap, Upstream } from "./upstreams.ts";

/** The native table of one upstream, and why it is empty if it is. */
export interface UpstreamTable {
  readonly table: RelayUpstream;
  /** What keeps every connection from being made; absent when there is an endpoint. */
  readonly problem?: string;
}

/** Until a port is known; the relay wants a number for display. */
const UNKNOWN_PORT = 1;

/** The lower of two caps. */
export function lowerCap(left: TransportCap, right: TransportCap): TransportCap {
  // Between pods of one node shared memory is the best there is, so `auto` and `shm` differ in name only.
  if (left === "tcp" || right === "tcp") return "tcp";
  return left === "auto" ? right : left;
}

/** The table of an upstream of which nothing is known, with the reason for people. */
export function emptyTable(upstream: Upstream, problem: string): UpstreamTable {
  const port = typeof upstream.port === "number" ? upstream.port : UNKNOWN_PORT;
  return { table: { service: upstream.service, port, endpoints: [] }, problem };
}

/**
 * Builds the native table of an upstream from what the agent says of its Service.
 *
 * @param cap - For all upstreams; the upstream's own may be lower.
 */
export function buildTable(
  upstream: Upstream,
  service: ServiceEndpoints,
  cap: TransportCap,
): UpstreamTable {
  const { problem } = service;
  const port = choosePort(upstream, service.ports);
  if (typeof port === "string") {
    const isMissing = service.ports.length === 0;
    return emptyTable(upstream, isMissing ? (problem ?? port) : port);
  }
  const isCapped = lowerCap(cap, upstream.transport) === "tcp";
  const endpoints = service.endpoints.flatMap((endpoint) =>
    toRelayEndpoints(endpoint, port, isCapped),
  );
  const table = { service: upstream.service, port: port.port, endpoints };
  if (endpoints.length > 0) return { table };
  return { table, problem: problem ?? `service ${upstream.service} has no pods` };
}

/** The table that calls a Service by its address, for when no agent can name its pods. */
export function addressTable(
  service: string,
  port: number,
  addresses: readonly string[],
): UpstreamTable {
  const endpoints = addresses.map((address): RelayEndpoint => ({
    pod: address,
    address,
    port,
    transport: "tcp",
    reason: "agent_unavailable",
  }));
  return { table: { service, port, endpoints } };
}

/** @returns Nothing for an endpoint that does not serve the port. */
function toRelayEndpoints(
  endpoint: ServiceEndpoint,
  { port, targetPort }: ServicePort,
  isCapped: boolean,
): RelayEndpoint[] {
  const { pod, address, ports } = endpoint;
  const way =
    ports === undefined
      ? { ...endpoint, targetPort }
      : ports.find((candidate) => candidate.port === port);
  if (way === undefined) return [];
  const common = { pod, address, port: way.targetPort };
  if (isCapped) return [{ ...common, transport: "tcp", reason: "disabled" }];
  if (way.transport === "shm") return [{ ...common, transport: "shm" }];
  // The agent gives a reason with every `tcp`; one that does not has not said that policy allows it.
  return [{ ...common, transport: "tcp", reason: way.reason ?? "policy_unknown" }];
}

/** @returns The port, or why there is none to choose. */
function choosePort(
  { service, port: wanted }: Upstream,
  ports: readonly ServicePort[],
): ServicePort | string {
  if (ports.length === 0) return `service ${service} does not exist`;
  if (wanted === undefined) {
    const [only, ...others] = ports;
    if (only !== undefined && others.length === 0) return only;
    return `service ${service} has several ports (${nameAll(ports)}): say which with ?port=`;
  }
  const found = ports.find(({ name, port }) => port === wanted || name === wanted);
  if (found !== undefined) return found;
  const hint = didYouMean(
    String(wanted),
    ports.map(({ name }) => name).filter((name) => name !== ""),
  );
  return `service ${service} has no port ${wanted}, it has ${nameAll(ports)}${hint}`;
}

function nameAll(ports: readonly ServicePort[]): string {
  return ports.map(({ name, port }) => (name === "" ? port : `${name} ${port}`)).join(", ");
}
