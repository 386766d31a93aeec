import type { ShimmyError } from "../common/errors.ts";
import type { Catalog } from "./catalog.ts";

/** Where the broker's knowledge of pods and services comes from. */
export interface CatalogSource {
  /** The last good state. */
  readonly catalog: Catalog;
  /** When {@link CatalogSource.catalog} became what it is. */
  readonly loadedAt: Date;
  /** Why the newest state could not be had; the one before is in force. */
  readonly error: ShimmyError | undefined;
  /** Begins to follow changes. */
  watch(): void;
  /** Stops following. Safe to call twice. */
  close(): void;
}
