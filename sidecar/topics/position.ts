import { ShimmyError } from "../../common/errors.ts";
import type { Delivery, Start } from "./transport.ts";

/** What is kept of publishers: there are at most 64 at a time, and those that went do not matter. */
const MAX_GENERATIONS = 64;
const MAX_TEXT = 2600;

/**
 * How far a client has read a lock-free topic: the last sequence number of each generation, which is
 * one publisher's ring. As text, `generation:sequence` divided by commas, it is the id of events.
 */
export class Position {
  readonly #sequences: Map<number, number>;

  constructor(sequences: Iterable<readonly [number, number]> = []) {
    this.#sequences = new Map(sequences);
  }

  /** @returns `undefined` for text that is no position. */
  static parse(text: string): Position | undefined {
    if (text.length > MAX_TEXT || !/^\d{1,16}:\d{1,16}(,\d{1,16}:\d{1,16}){0,63}$/.test(text)) {
      return undefined;
    }
    const pairs = text.split(",").map((pair) => pair.split(":").map(Number));
    return new Position(pairs as [number, number][]);
  }

  /** Generations that were read. */
  get generations(): Iterable<number> {
    return this.#sequences.keys();
  }

  get(generation: number): number | undefined {
    return this.#sequences.get(generation);
  }

  /** Notes that a message was read. */
  advance({ generation, sequence }: Pick<Delivery, "generation" | "sequence">): void {
    this.#sequences.set(generation, sequence);
    if (this.#sequences.size > MAX_GENERATIONS) {
      this.#sequences.delete(Math.min(...this.#sequences.keys()));
    }
  }

  toString(): string {
    return [...this.#sequences].map(([ring, sequence]) => `${ring}:${sequence}`).join(",");
  }
}

/** Where a client begins: at one end of what is there, at a sequence number, or behind a position. */
export type From = Start | number | Position;

/**
 * Reads `?from=`, else the header Last-Event-ID.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for what is none.
 */
export function parseFrom(from: string | null, lastEventId: string | undefined): From {
  const text = from ?? lastEventId ?? "newest";
  if (text === "" || text === "newest") return "newest";
  if (text === "oldest") return "oldest";
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const position = Position.parse(text);
  if (position !== undefined) return position;
  throw new ShimmyError(
    "SHIMMY_ERR_INVALID_OPTION",
    `from must be oldest, newest, a sequence number or the id of an event, got ${JSON.stringify(text.slice(0, 40))}`,
  );
}

/** How many messages were missed just before one. */
export type Missed = number | "unknown";

/** Leaves out what a client has read already, and finds what it missed meanwhile. */
export class Resume {
  readonly #from: From;
  readonly #seen = new Set<number>();
  #isComplete: boolean;

  constructor(from: From) {
    this.#from = from;
    this.#isComplete = typeof from === "string";
  }

  /** Where the channel's reader has to begin. */
  get start(): Start {
    return typeof this.#from === "string" ? this.#from : "oldest";
  }

  /**
   * Looks at the next message.
   *
   * @returns How many were missed before it; `undefined` when it is not to be delivered.
   */
  check({ generation, sequence, missed }: Omit<Delivery, "data" | "release">): Missed | undefined {
    if (this.#isComplete && this.#seen.has(generation)) return missed;
    const isFirst = !this.#seen.has(generation);
    const wanted = this.#wanted(generation);
    if (wanted !== undefined && sequence < wanted) return undefined;
    this.#seen.add(generation);
    // Only the first one of a ring that is delivered is compared with what was read before.
    if (!isFirst || typeof this.#from === "string") return missed;
    if (wanted === undefined) return this.#isNewRingWhole(sequence) ? missed : "unknown";
    return missed === "unknown" ? missed : Math.max(missed, sequence - wanted);
  }

  /** The first sequence number of a ring that is to be delivered, if that is known. */
  #wanted(generation: number): number | undefined {
    const from = this.#from;
    // A number is one of the ring that is met first; another ring counts anew.
    if (typeof from === "number") {
      return this.#seen.size === 0 || this.#seen.has(generation) ? from : undefined;
    }
    const last = typeof from === "string" ? undefined : from.get(generation);
    return last === undefined ? undefined : last + 1;
  }

  /** Nothing was missed of a ring that was not there before if it begins, and no other one is gone. */
  #isNewRingWhole(sequence: number): boolean {
    const from = this.#from;
    if (sequence > 0 || !(from instanceof Position)) return false;
    return [...from.generations].every((generation) => this.#seen.has(generation));
  }
}
