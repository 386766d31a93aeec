// What the API server has of one kind, kept up to date. It never gives up:
//
//   I1  an error of whatever kind is followed by another attempt, after a growing delay
//   I2  what is known stays known while the server cannot be asked
//   I3  a version that the server has forgotten, and anything that cannot be read, lead to a new list
//   I4  a watch that is silent for longer than bookmarks take is ended: its connection may be dead
//   I5  the whole list is asked for again from time to time, in case an event was lost
import { setTimeout as sleep } from "node:timers/promises";

import { Backoff } from "../backoff.ts";
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { KubernetesApi } from "./api-client.ts";
import { ApiError } from "./api-error.ts";
import { splitLines } from "./lines.ts";
import { objectKey, type KubernetesObject } from "./objects.ts";
import { resourcePath, type Resource } from "./resources.ts";
import { parseWatchEvent, versionOf, type WatchEvent } from "./watch-event.ts";

/** Times and sizes of a {@link ListWatch}; tests make them short. */
export interface ListWatchLimits {
  /** First and longest delay after an error. */
  readonly retryMs: number;
  readonly maxRetryMs: number;
  /** A silent watch is ended then; the server sends bookmarks about once a minute. */
  readonly silenceMs: number;
  /** A watch is asked to end after between this time and its double. */
  readonly watchMs: number;
  /** Time between lists, at least. */
  readonly resyncMs: number;
  /** Objects in one page of a list. */
  readonly pageSize: number;
  /** Longest line of a watch: etcd takes objects of 1.5 MiB, and JSON may escape some bytes. */
  readonly maxLineBytes: number;
}

/** What a {@link ListWatch} uses when nothing else is given. */
export const LIST_WATCH_LIMITS: ListWatchLimits = {
  retryMs: 500,
  maxRetryMs: 30_000,
  silenceMs: 90_000,
  watchMs: 240_000,
  resyncMs: 600_000,
  pageSize: 500,
  maxLineBytes: 16 * 1024 * 1024,
};

/** What happened, for metrics. */
export type ListWatchEvent = "list" | "watch" | "error" | "silence" | "refused";

/** Options for {@link ListWatch}. */
export interface ListWatchOptions<T> {
  readonly api: KubernetesApi;
  readonly resource: Resource;
  /** As `spec.nodeName=n1`. */
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** Namespace to look at; all when not given. */
  readonly namespace?: string;
  /** Checks an object and keeps what is needed of it; `undefined` leaves it out. */
  readonly take: (object: KubernetesObject) => T | undefined;
  /** Called once for each object that came, changed or went; then {@link ListWatch.items} has it. */
  readonly onChange: (key: string) => void;
  /** Called for each of these. */
  readonly onEvent?: (event: ListWatchEvent) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits?: Partial<ListWatchLimits>;
}

interface Entry<T> {
  readonly version: string;
  readonly item: T | undefined;
}

/** Reason of the error that ends a silent watch. */
const SILENCE = "Silence";
/** Watches from one version that may fail before it is given up. */
const MAX_FAILED_WATCHES = 5;

/** Keeps a copy of all objects of one kind that the API server has. */
export class ListWatch<T> {
  readonly #options: ListWatchOptions<T>;
  readonly #limits: ListWatchLimits;
  readonly #path: string;
  readonly #backoff: Backoff;
  readonly #stop = new AbortController();
  readonly #synced = Promise.withResolvers<undefined>();
  readonly #items = new Map<string, T>();
  #entries = new Map<string, Entry<T>>();
  #version: string | undefined;
  #failedWatches = 0;
  #listedAt = Number.NEGATIVE_INFINITY;
  #heardAt = Number.NEGATIVE_INFINITY;
  #isSynced = false;
  #running: Promise<void> | undefined;

  constructor(options: ListWatchOptions<T>) {
    this.#options = options;
    this.#limits = { ...LIST_WATCH_LIMITS, ...options.limits };
    this.#path = resourcePath(options.resource, { namespace: options.namespace });
    const { retryMs, maxRetryMs } = this.#limits;
    this.#backoff = new Backoff({ initialMs: retryMs, maxMs: maxRetryMs });
  }

  /** What is known, by `namespace/name`. */
  get items(): ReadonlyMap<string, T> {
    return this.#items;
  }

  /** Whether there has been a whole list. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Settles at the first whole list. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /**
   * Time since the server was last heard about this kind, in milliseconds; infinite before. A watch
   * that it accepted counts.
   */
  get silentMs(): number {
    return this.#options.clock.now() - this.#heardAt;
  }

  /** Begins; goes on until {@link ListWatch.close}. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends it; what is known stays. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const isStopping = (): boolean => this.#stop.signal.aborted;
    while (!isStopping()) {
      let retryAfterMs = 0;
      try {
        await this.#once();
      } catch (err) {
        if (isStopping()) return;
        retryAfterMs = this.#noteFailure(err);
      }
      const delayMs = Math.max(this.#backoff.next(), retryAfterMs);
      await sleep(delayMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
  }

  async #once(): Promise<void> {
    const isStale = this.#options.clock.now() - this.#listedAt >= this.#limits.resyncMs;
    if (this.#version === undefined || isStale) {
      await this.#list();
      this.#listedAt = this.#options.clock.now();
      this.#failedWatches = 0;
    }
    await this.#watch();
  }

  /** @returns How long the server wants to be left alone. */
  #noteFailure(err: unknown): number {
    const { log, resource, onEvent } = this.#options;
    const failure =
      err instanceof ApiError ? err : new ApiError(messageOf(err), { status: 0, cause: err });
    const { isExpired, reason, retryAfterMs, message } = failure;
    this.#failedWatches += 1;
    const hasGivenUp = this.#failedWatches >= MAX_FAILED_WATCHES;
    const isLost = isExpired || reason === "Garbage" || hasGivenUp;
    if (isLost) this.#version = undefined; // I3
    onEvent?.("error");
    const fields = { resource: resource.plural, error: message, relist: isLost };
    log[levelOf(failure)](fields, "watch failed");
    return retryAfterMs;
  }

  async #list(): Promise<void> {
    const { api, fieldSelector, labelSelector, onEvent } = this.#options;
    const next = new Map<string, Entry<T>>();
    let page: ListPage = { items: [], version: undefined, more: undefined };
    do {
      const query = {
        limit: this.#limits.pageSize,
        continue: page.more,
        fieldSelector,
        labelSelector,
      };
      const answer = await api.request({ path: this.#path, query, signal: this.#stop.signal });
      page = parsePage(this.#path, answer);
      for (const object of page.items) {
        const key = objectKey(object.metadata);
        const version = versionOf(object) ?? "";
        const known = this.#entries.get(key);
        next.set(key, known?.version === version ? known : this.#entryOf(object, version));
      }
      this.#heardAt = this.#options.clock.now();
    } while (page.more !== undefined);
    onEvent?.("list");
    this.#version = page.version;
    this.#replace(next);
  }

  #replace(next: Map<string, Entry<T>>): void {
    const before = this.#entries;
    this.#entries = next;
    const keys = [...new Set([...before.keys(), ...next.keys()])];
    const changed = keys.filter((key) => before.get(key)?.version !== next.get(key)?.version);
    for (const key of changed) this.#publish(key);
    for (const key of changed) this.#options.onChange(key);
    this.#isSynced = true;
    this.#synced.resolve(undefined);
  }

  async #watch(): Promise<void> {
    const { api, fieldSelector, labelSelector, onEvent, clock } = this.#options;
    const { watchMs, silenceMs, maxLineBytes } = this.#limits;
    const silence = new AbortController();
    const begunAt = clock.now();
    let heardAt = begunAt;
    const endWatchdog = clock.every(silenceMs / 4, () => {
      if (clock.now() - heardAt >= silenceMs) silence.abort(); // I4
    });
    onEvent?.("watch");
    const chunks = api.stream({
      path: this.#path,
      query: {
        watch: 1,
        allowWatchBookmarks: "true",
        resourceVersion: this.#version,
        timeoutSeconds: Math.ceil((watchMs * (1 + Math.random())) / 1000),
        fieldSelector,
        labelSelector,
      },
      signal: AbortSignal.any([silence.signal, this.#stop.signal]),
      // A server that goes on from our version has nothing that we have not heard. Kinds that nothing
      // happens to may get no bookmarks: https://github.com/kubernetes/kubernetes, cacher.go,
      // dispatchEvents(), until an event or a progress notice of etcd came.
      onAccepted: () => {
        this.#heardAt = clock.now();
      },
    });
    try {
      for await (const line of splitLines(chunks, maxLineBytes)) {
        if (line.length === 0) continue;
        this.#apply(parseWatchEvent(line));
        heardAt = this.#heardAt = clock.now();
        this.#failedWatches = 0;
        this.#backoff.reset();
        if (heardAt - this.#listedAt >= this.#limits.resyncMs) return; // I5
      }
    } catch (err) {
      if (!silence.signal.aborted) throw err;
      onEvent?.("silence");
      const message = `the watch was silent for ${silenceMs} ms`;
      throw new ApiError(message, { status: 0, reason: SILENCE, cause: err });
    } finally {
      endWatchdog();
      // One that lasted was in order, even where nothing happened and no bookmark came.
      if (clock.now() - begunAt > this.#limits.maxRetryMs) this.#backoff.reset();
    }
  }

  #apply({ type, object, resourceVersion }: WatchEvent): void {
    this.#version = resourceVersion;
    if (type === "BOOKMARK") return;
    const key = objectKey(object.metadata);
    if (type === "DELETED") this.#entries.delete(key);
    else this.#entries.set(key, this.#entryOf(object, resourceVersion));
    this.#publish(key);
    this.#options.onChange(key);
  }

  /** An object that cannot be used must not keep the others from being seen. */
  #entryOf(object: KubernetesObject, version: string): Entry<T> {
    const { take, log, onEvent, resource } = this.#options;
    try {
      return { version, item: take(object) };
    } catch (err) {
      onEvent?.("refused");
      const fields = { resource: resource.plural, object: objectKey(object.metadata) };
      log.warn({ ...fields, error: messageOf(err) }, "object refused");
      return { version, item: undefined };
    }
  }

  #publish(key: string): void {
    const item = this.#entries.get(key)?.item;
    if (item === undefined) this.#items.delete(key);
    else this.#items.set(key, item);
  }
}

/** What belongs to the way of things is not a warning. */
function levelOf({ isExpired, reason }: ApiError): "debug" | "info" | "warn" {
  if (reason === SILENCE) return "debug";
  return isExpired ? "info" : "warn";
}

interface ListPage {
  readonly items: readonly KubernetesObject[];
  readonly version: string | undefined;
  readonly more: string | undefined;
}

function parsePage(path: string, value: unknown): ListPage {
  const { items, metadata } = value as {
    items?: unknown;
    metadata?: { continue?: string };
  };
  const version = versionOf(value);
  // An empty list is written as null by some servers.
  const list: unknown = items ?? [];
  if (version === undefined || !Array.isArray(list) || !list.every(isObject)) {
    throw new ApiError(`GET ${path}: not a list`, { status: 0, reason: "Garbage" });
  }
  return { items: list, version, more: metadata?.continue === "" ? undefined : metadata?.continue };
}

function isObject(value: unknown): value is KubernetesObject {
  const { metadata } = (value ?? {}) as { metadata?: { name?: unknown } };
  return typeof metadata?.name === "string";
}
