import type { ServiceEndpoint, ServiceEndpoints } from "./api.ts";
import type { Catalog, CatalogPod, CatalogService } from "./catalog.ts";
import { decide } from "./policy.ts";

/**
 * The endpoints of a service as `client` is to use them.
 *
 * @param key - `namespace/name`.
 * @returns A service without ports and endpoints when there is none of that name.
 */
export function endpointsFor(client: CatalogPod, key: string, catalog: Catalog): ServiceEndpoints {
  const service = catalog.services.get(key);
  if (service === undefined) return { service: key, ports: [], endpoints: [] };
  const endpoints = service.pods
    .map((uid) => catalog.pods.get(uid))
    .filter((server) => server !== undefined)
    .map((server) => endpoint({ client, server, service, catalog }));
  return { service: key, ports: service.ports, endpoints };
}

function endpoint(question: {
  client: CatalogPod;
  server: CatalogPod;
  service: CatalogService;
  catalog: Catalog;
}): ServiceEndpoint {
  const { uid, address, node, injected } = question.server;
  const reason = decide(question);
  const common = { pod: uid, address, node, injected };
  return reason === undefined
    ? { ...common, transport: "shm" }
    : { ...common, transport: "tcp", reason };
}
