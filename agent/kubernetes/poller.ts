import type { Clock } from "../../common/clock.ts";
import { messageOf } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";

/** Times between two readings, in milliseconds. */
export interface PollerTimes {
  readonly refreshMs: number;
  /** After one that failed. */
  readonly retryMs: number;
}

/** Options for {@link Poller}. */
export interface PollerOptions {
  /** What is read, for the log. */
  readonly what: string;
  /** Reads once; what it throws is logged, and the next reading comes sooner. */
  readonly read: (signal: AbortSignal) => Promise<void>;
  readonly times: PollerTimes;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Reads something from time to time, for what the API server does not let one follow. */
export class Poller {
  readonly #options: PollerOptions;
  readonly #stop = new AbortController();
  #cancelNext: () => void = () => undefined;
  #reading: Promise<void> = Promise.resolve();

  constructor(options: PollerOptions) {
    this.#options = options;
  }

  /** Begins to read, now and from time to time. */
  start(): void {
    this.#reading = this.#read();
  }

  /** Ends; a reading that is going on is given up. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#cancelNext();
    await this.#reading;
  }

  async #read(): Promise<void> {
    const { what, read, times, clock, log } = this.#options;
    const { signal } = this.#stop;
    let nextMs = times.refreshMs;
    try {
      await read(signal);
    } catch (err) {
      nextMs = times.retryMs;
      if (!signal.aborted) log.warn({ error: messageOf(err) }, `${what} not read`);
    }
    if (signal.aborted) return;
    this.#cancelNext = clock.after(nextMs, () => {
      this.start();
    });
  }
}
