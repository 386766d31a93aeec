import type { CatalogService, ServiceLookup } from "../catalog.ts";
import { resolveService, type Surroundings } from "./resolve-service.ts";
import type { KubernetesService } from "./service.ts";
import type { SliceIndex } from "./slice-index.ts";

/** What a {@link ServiceResolver} looks at; live. */
export interface ServiceSources {
  readonly services: ReadonlyMap<string, KubernetesService>;
  readonly slices: Pick<SliceIndex, "of">;
  readonly surroundings: () => Surroundings;
}

/**
 * Services, resolved when somebody asks for them: of ten thousand, the pods of a node call a few.
 *
 *   I1  whoever was given a Service is told when it changes: what was given is remembered, and
 *       {@link ServiceResolver.forget} says whether anything of it changed
 */
export class ServiceResolver implements ServiceLookup {
  readonly #sources: ServiceSources;
  readonly #resolved = new Map<string, CatalogService>();

  constructor(sources: ServiceSources) {
    this.#sources = sources;
  }

  /** How many there are. */
  get size(): number {
    return this.#sources.services.size;
  }

  get(key: string): CatalogService | undefined {
    const known = this.#resolved.get(key);
    if (known !== undefined) return known;
    const service = this.#sources.services.get(key);
    if (service === undefined) return undefined;
    const { slices, surroundings } = this.#sources;
    const resolved = resolveService(service, slices.of(key), surroundings());
    this.#resolved.set(key, resolved);
    return resolved;
  }

  /**
   * These are to be resolved anew.
   *
   * @returns Whether somebody had been given one of them.
   */
  forget(keys: Iterable<string>): boolean {
    let wasGiven = false;
    for (const key of keys) wasGiven = this.#resolved.delete(key) || wasGiven;
    return wasGiven;
  }

  /** All are to be resolved anew. */
  forgetAll(): void {
    this.#resolved.clear();
  }
}
