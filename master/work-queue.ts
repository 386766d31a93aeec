import { Backoff } from "../common/backoff.ts";
import type { Clock } from "../common/clock.ts";

/** Options for {@link WorkQueue}. */
export interface WorkQueueOptions {
  /** Does what there is to do for a key, now. When it fails it is called again later. */
  readonly work: (key: string) => Promise<void>;
  /** Called with each failure; gives how long to wait at least, in milliseconds. */
  readonly onFailure: (key: string, err: unknown) => number;
  readonly clock: Clock;
  /** Keys worked on at a time. @defaultValue 4 */
  readonly concurrency?: number;
  /** First and longest delay after a failure. @defaultValue 100 ms and 60 s */
  readonly retry?: { readonly initialMs: number; readonly maxMs: number };
}

const RETRY = { initialMs: 100, maxMs: 60_000 };

/**
 * Keys that need work: each is there once, is worked on by one at a time, and comes back after a
 * delay of its own that grows while it fails.
 *
 * A key that is added while it is worked on is worked on once more.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #busy = new Map<string, Promise<void>>();
  readonly #delays = new Map<string, { backoff: Backoff; cancel: () => void }>();
  #isClosed = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Keys that wait, for their turn or after a failure. */
  get length(): number {
    const delayed = [...this.#delays.keys()].filter((key) => !this.#waiting.has(key));
    return this.#waiting.size + delayed.length;
  }

  /** Adds a key; one that waits after a failure goes on waiting. */
  add(key: string): void {
    if (this.#isClosed || this.#delays.has(key)) return;
    this.#waiting.add(key);
    this.#next();
  }

  /** Forgets what waits; settles when nothing is worked on any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#waiting.clear();
    for (const { cancel } of this.#delays.values()) cancel();
    this.#delays.clear();
    await Promise.all(this.#busy.values());
  }

  #next(): void {
    const { concurrency = 4 } = this.#options;
    for (const key of this.#waiting) {
      if (this.#busy.size >= concurrency) return;
      if (this.#busy.has(key)) continue;
      this.#waiting.delete(key);
      this.#busy.set(key, this.#work(key));
    }
  }

  async #work(key: string, backoff?: Backoff): Promise<void> {
    try {
      await this.#options.work(key);
    } catch (err) {
      this.#delay(key, backoff ?? this.#newBackoff(), this.#options.onFailure(key, err));
    } finally {
      this.#busy.delete(key);
      if (!this.#isClosed) this.#next();
    }
  }

  #newBackoff(): Backoff {
    return new Backoff(this.#options.retry ?? RETRY);
  }

  #delay(key: string, backoff: Backoff, atLeastMs: number): void {
    if (this.#isClosed) return;
    this.#waiting.delete(key);
    const cancel = this.#options.clock.after(Math.max(backoff.next(), atLeastMs), () => {
      this.#delays.delete(key);
      this.#busy.set(key, this.#work(key, backoff));
    });
    this.#delays.set(key, { backoff, cancel });
  }
}
