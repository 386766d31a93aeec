import { createHash, randomBytes } from "node:crypto";

/** Random choices that are the same for the same seed. */
export class Random {
  #state: number;

  constructor(seed: string) {
    this.#state = createHash("sha256").update(seed).digest().readUInt32LE(0);
  }

  /** At least 0, less than 1. The generator is mulberry32 (Tommy Ettinger, public domain). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** From `low` to `high`, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** The same chance for each order of magnitude. */
  magnitude(low: number, high: number): number {
    return Math.round(low * (high / low) ** this.next());
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One of the values, which must not be none. */
  pick<T>(values: readonly T[]): T {
    return values[this.integer(0, values.length - 1)] as T;
  }
}

/** SHIMMY_TEST_SEED, or a new one. Print it: it makes the run again. */
export function testSeed(): string {
  return process.env["SHIMMY_TEST_SEED"] ?? randomBytes(4).toString("hex");
}

/** How many there are of what there may be more of: SHIMMY_TEST_SCALE times `count`, at least 1. */
export function scaled(count: number): number {
  return Math.max(1, Math.round(count * Number(process.env["SHIMMY_TEST_SCALE"] ?? 1)));
}
