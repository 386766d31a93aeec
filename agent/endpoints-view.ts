import { createHash } from "node:crypto";

import type { ServiceEndpoints } from "./api.ts";
import { chooseSticky } from "./affinity.ts";
import type { Catalog, CatalogPod, CatalogService } from "./catalog.ts";
import type { ConnectionRules } from "./catalog-rules.ts";
import { endpointsFor } from "./endpoints.ts";

/** What an answer was made of; made again of the same objects it would be the same. */
interface Sources {
  readonly client: CatalogPod;
  readonly service: CatalogService | undefined;
  readonly rules: ConnectionRules;
}

interface Entry {
  sources?: Sources;
  /** Hash of what was told: a service may have thousands of endpoints. */
  told?: string;
  /** The endpoint to stay with. */
  held?: string;
}

/** What one client watches, and what it was told of it. */
export class EndpointsView {
  readonly #entries = new Map<string, Entry>();

  /** Replaces the services that are watched; what was told of them is forgotten. */
  watch(services: readonly string[]): void {
    const before = new Map(this.#entries);
    this.#entries.clear();
    for (const key of services) {
      const held = before.get(key)?.held;
      this.#entries.set(key, held === undefined ? {} : { held });
    }
  }

  /** Services of which the client does not know what is so now; it counts as told. */
  changes(client: CatalogPod, catalog: Catalog): ServiceEndpoints[] {
    const changed: ServiceEndpoints[] = [];
    for (const [key, entry] of this.#entries) {
      const sources = { client, service: catalog.services.get(key), rules: catalog.rules };
      if (entry.sources !== undefined && isSame(entry.sources, sources)) continue;
      entry.sources = sources;
      const service = stay(endpointsFor(client, key, catalog), sources, entry);
      const told = createHash("sha256").update(JSON.stringify(service)).digest("base64");
      if (entry.told === told) continue;
      entry.told = told;
      changed.push(service);
    }
    return changed;
  }
}

/** Leaves the one endpoint of a service whose clients are to stay with one. */
function stay(
  service: ServiceEndpoints,
  { client, service: found }: Sources,
  entry: Entry,
): ServiceEndpoints {
  if (found?.isSticky !== true) return service;
  const chosen = chooseSticky(client.uid, service.endpoints, entry.held);
  if (chosen === undefined) return service;
  entry.held = chosen.pod;
  return { ...service, endpoints: [chosen] };
}

function isSame(left: Sources, right: Sources): boolean {
  return (
    left.client === right.client && left.service === right.service && left.rules === right.rules
  );
}
