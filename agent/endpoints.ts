import type { FallbackReason } from "../common/reasons.ts";
import type { EndpointPort, ServiceEndpoint, ServiceEndpoints, ServicePort } from "./api.ts";
import type { Catalog, CatalogEndpoint, CatalogPod, CatalogService } from "./catalog.ts";
import { decide } from "./policy.ts";

/** The node of an endpoint that names none. */
export const UNKNOWN_NODE = "unknown";

/** What one endpoint is judged by. */
interface Subject {
  readonly client: CatalogPod;
  readonly service: CatalogService;
  readonly endpoint: CatalogEndpoint;
  readonly catalog: Catalog;
}

/**
 * The endpoints of a service as `client` is to use them.
 *
 * @param key - `namespace/name`.
 * @returns A service without ports and endpoints when there is none of that name.
 */
export function endpointsFor(client: CatalogPod, key: string, catalog: Catalog): ServiceEndpoints {
  const service = catalog.services.get(key);
  if (service === undefined) return { service: key, ports: [], endpoints: [] };
  const { ports, problem } = service;
  const endpoints = service.endpoints.flatMap((endpoint) =>
    describe({ client, service, endpoint, catalog }),
  );
  return { service: key, ports, endpoints, ...(problem === undefined ? {} : { problem }) };
}

/** @returns Nothing for an endpoint that serves none of the ports. */
function describe(subject: Subject): ServiceEndpoint[] {
  const { service, endpoint } = subject;
  const { pod, address, node } = endpoint;
  const ports = service.ports.flatMap((port) => describePort(subject, port));
  const [first] = ports;
  if (first === undefined) return [];
  const { transport, reason } = first;
  const whole: ServiceEndpoint = {
    pod,
    address,
    node,
    injected: serverOf(subject)?.injected ?? false,
    transport,
    ...(reason === undefined ? {} : { reason }),
  };
  const isUsual =
    ports.every((each) => each.reason === reason) &&
    service.ports.every(({ port, targetPort }) => endpoint.ports.get(port) === targetPort);
  return [isUsual ? whole : { ...whole, ports }];
}

function describePort(subject: Subject, { port }: ServicePort): EndpointPort[] {
  const targetPort = subject.endpoint.ports.get(port);
  if (targetPort === undefined) return [];
  const reason = reasonOf(subject, targetPort);
  return reason === undefined
    ? [{ port, targetPort, transport: "shm" }]
    : [{ port, targetPort, transport: "tcp", reason }];
}

function reasonOf(subject: Subject, targetPort: number): FallbackReason | undefined {
  const { client, service, endpoint, catalog } = subject;
  const server = serverOf(subject);
  if (server === undefined) return strangerReason(endpoint, catalog);
  const backing = server.backings.find(
    (each) => each.service === service.key && each.port === targetPort,
  );
  // What a service claims is not what the pod is known to back.
  if (backing === undefined) return "policy_denied";
  return decide({ client, server, backing, catalog }, "new");
}

function serverOf({ endpoint, catalog }: Subject): CatalogPod | undefined {
  return endpoint.isKnown ? catalog.pods.get(endpoint.pod) : undefined;
}

/** Of what is no pod that is known, its place is all that can be said. */
function strangerReason({ node }: CatalogEndpoint, catalog: Catalog): FallbackReason {
  return node === catalog.node || node === UNKNOWN_NODE
    ? "peer_not_injected"
    : "other_node_no_fabric";
}
