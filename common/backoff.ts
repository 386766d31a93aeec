/** Options for {@link Backoff}. */
export interface BackoffOptions {
  /** Upper end of the first delay, in milliseconds; at least 1. */
  readonly initialMs: number;
  /** Upper end of every delay, in milliseconds. */
  readonly maxMs: number;
  /** Source of numbers from 0 (included) to 1 (excluded). @defaultValue Math.random */
  readonly random?: () => number;
}

/**
 * Delays between attempts: doubling up to a limit, each drawn from the upper half of its range.
 *
 * The draw keeps clients that lost the same server from coming back in step; the lower half is left
 * out so that no attempt follows at once.
 */
export class Backoff {
  readonly #initialMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor({ initialMs, maxMs, random = Math.random }: BackoffOptions) {
    this.#initialMs = initialMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** Attempts since the last {@link Backoff.reset}. */
  get attempt(): number {
    return this.#attempt;
  }

  /** @returns How long to wait before the next attempt, in whole milliseconds. */
  next(): number {
    const ceiling = Math.min(this.#maxMs, this.#initialMs * 2 ** Math.min(this.#attempt, 52));
    this.#attempt += 1;
    return Math.round(ceiling / 2 + (this.#random() * ceiling) / 2);
  }

  /** Starts again at the first delay; call it when an attempt succeeded. */
  reset(): void {
    this.#attempt = 0;
  }
}
