import { watch, type FSWatcher } from "node:fs";
import { open, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";

import { messageOf, ShimmyError, toShimmyError } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import type { Catalog } from "./catalog.ts";
import type { CatalogSource } from "./catalog-source.ts";
import { parseCatalog, type CatalogDefaults } from "./parse-catalog.ts";
import type { Clock } from "../common/clock.ts";

/** What a {@link FileCatalogSource} works with. */
export interface FileCatalogSourceOptions {
  readonly path: string;
  readonly defaults: CatalogDefaults;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called with each new catalog, not with the first. */
  readonly onChange: (catalog: Catalog) => void;
  /** Called when the file was refused; the catalog before it stays. */
  readonly onRefused: (error: ShimmyError) => void;
}

/** Larger files are refused unread. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
/** Notifications can be missed, on network and overlay file systems for one. */
const POLL_MS = 1000;
/**
 * A file is read when it has not changed for this long. One that is written in place is shorter
 * for a moment, and may well be a catalog without some pods then.
 */
const SETTLE_MS = 100;

/** What tells one state of the file from another. */
type Stamp = string;

/** A catalog in a file, read again when it changes: replaced by a rename or written in place. */
export class FileCatalogSource implements CatalogSource {
  readonly #options: FileCatalogSourceOptions;
  readonly #stops: (() => void)[] = [];
  #catalog: Catalog;
  #loadedAt: Date;
  #error: ShimmyError | undefined;
  #stamp: Stamp;
  #text: string;
  #isChecking = false;
  #isClosed = false;

  private constructor(options: FileCatalogSourceOptions, first: { text: string; stamp: Stamp }) {
    this.#options = options;
    this.#catalog = parseCatalog(first.text, options.path, options.defaults);
    this.#text = first.text;
    this.#stamp = first.stamp;
    this.#loadedAt = new Date();
  }

  /**
   * Reads the file; {@link FileCatalogSource.watch} follows it from there.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CATALOG_INVALID` when it cannot be read or is not a catalog.
   */
  static async open(options: FileCatalogSourceOptions): Promise<FileCatalogSource> {
    return new FileCatalogSource(options, await read(options.path));
  }

  /** The last catalog that was good. */
  get catalog(): Catalog {
    return this.#catalog;
  }

  /** When {@link FileCatalogSource.catalog} was read. */
  get loadedAt(): Date {
    return this.#loadedAt;
  }

  /** Why the file as it is now is refused, if it is. */
  get error(): ShimmyError | undefined {
    return this.#error;
  }

  /** Stops watching. Safe to call twice. */
  close(): void {
    this.#isClosed = true;
    for (const stop of this.#stops.splice(0)) stop();
  }

  /** Begins to follow the file; what changed since it was read is found at once. */
  watch(): void {
    const check = (): void => {
      void this.#check();
    };
    this.#stops.push(this.#options.clock.every(POLL_MS, check));
    const watcher = this.#watchDirectory(check);
    if (watcher !== undefined) {
      this.#stops.push(() => {
        watcher.close();
      });
    }
    check();
  }

  /** The directory, because a rename puts another file in the place of the one watched. */
  #watchDirectory(check: () => void): FSWatcher | undefined {
    const { path, log } = this.#options;
    try {
      const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
        if (name === null || name === basename(path)) check();
      });
      watcher.on("error", (err) => {
        log.warn({ path, problem: err.message }, "catalog is polled only");
        watcher.close();
      });
      return watcher;
    } catch (err) {
      log.warn({ path, problem: messageOf(err) }, "catalog is polled only");
      return undefined;
    }
  }

  async #check(): Promise<void> {
    if (this.#isChecking || this.#isClosed) return;
    this.#isChecking = true;
    try {
      const stamp = await this.#settle();
      if (stamp !== this.#stamp) await this.#reload(stamp);
    } catch (err) {
      this.#refuse(toShimmyError(err, "SHIMMY_ERR_CATALOG_INVALID"));
    } finally {
      this.#isChecking = false;
    }
  }

  /** Waits until the file is as it was SETTLE_MS before; one that was not touched is not waited for. */
  async #settle(): Promise<Stamp> {
    const { path, clock } = this.#options;
    let stamp = await stampOf(path);
    while (stamp !== this.#stamp && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        clock.after(SETTLE_MS, resolve);
      });
      const before = stamp;
      stamp = await stampOf(path);
      if (stamp === before) break;
    }
    return stamp;
  }

  async #reload(seen: Stamp): Promise<void> {
    // Whatever comes of it, this state of the file is dealt with.
    this.#stamp = seen;
    const { text, stamp } = await read(this.#options.path);
    this.#stamp = stamp;
    if (this.#isClosed || (text === this.#text && this.#error === undefined)) return;
    const catalog = parseCatalog(text, this.#options.path, this.#options.defaults);
    this.#catalog = catalog;
    this.#text = text;
    this.#loadedAt = new Date();
    this.#error = undefined;
    const { pods, services } = catalog;
    this.#options.log.info({ pods: pods.size, services: services.size }, "catalog loaded");
    this.#options.onChange(catalog);
  }

  #refuse(error: ShimmyError): void {
    if (this.#isClosed || error.message === this.#error?.message) return;
    this.#error = error;
    this.#options.log.error({ problem: error.message }, "catalog refused, the one before stays");
    this.#options.onRefused(error);
  }
}

async function read(path: string): Promise<{ text: string; stamp: Stamp }> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > MAX_FILE_BYTES) {
      throw new Error(`${path} has ${size} bytes, at most ${MAX_FILE_BYTES} are read`);
    }
    const stamp = await stampOf(path);
    return { text: await file.readFile("utf8"), stamp };
  } catch (err) {
    throw toShimmyError(err, "SHIMMY_ERR_CATALOG_INVALID");
  }
}

async function stampOf(path: string): Promise<Stamp> {
  const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return [ino, size, mtimeNs, ctimeNs].join(" ");
}
