import { ShimmyError } from "../../common/errors.ts";
import type { Delivery, TopicReader } from "./transport.ts";

/** A client that waits for a message. */
interface Waiting {
  readonly give: (delivery: Delivery | undefined) => void;
  readonly fail: (err: unknown) => void;
}

/** One client of a {@link SharedConsumer}, or of a channel of its own. */
export interface Subscription {
  readonly kind: TopicReader["kind"];
  /** Largest message, in bytes. */
  readonly maxBytes: number;
  /**
   * Waits for the next message. The one before was released, or {@link Subscription.close} follows.
   *
   * @returns `undefined` when the channel was ended.
   * @throws The signal's reason when it is aborted.
   */
  next(signal: AbortSignal): Promise<Delivery | undefined>;
  /** What was given and not released goes to another client. Safe to call twice. */
  close(): void;
}

/**
 * The one consumer of a lock-based channel, and the HTTP clients that share it.
 *
 *   C1  each message is with one client at a time, and released when that client has it
 *   C2  who has waited for longest gets the next one
 *   C3  what a client had and did not release goes to the next client, before all newer messages
 */
export class SharedConsumer {
  readonly #reader: TopicReader;
  readonly #onEmpty: () => void;
  readonly #onRedelivery: () => void;
  readonly #waiting: Waiting[] = [];
  /** Came when nobody waited, or had been with a client that has gone. */
  readonly #returned: Delivery[] = [];
  readonly #given = new WeakSet<Delivery>();
  readonly #end = new AbortController();
  #clients = 0;
  #out = 0;
  #isReading = false;
  /** As many messages are out as may be: a release has to come first. */
  #isExhausted = false;

  /** @param events - `onEmpty`: nobody may join any more. */
  constructor(
    reader: TopicReader,
    events: { readonly onEmpty: () => void; readonly onRedelivery: () => void },
  ) {
    this.#reader = reader;
    this.#onEmpty = events.onEmpty;
    this.#onRedelivery = events.onRedelivery;
  }

  /** Adds a client. */
  join(): Subscription {
    this.#clients += 1;
    let held: Delivery | undefined;
    let isClosed = false;
    return {
      kind: this.#reader.kind,
      maxBytes: this.#reader.maxBytes,
      next: async (signal) => {
        const given = await this.#next(signal);
        if (given === undefined) return undefined;
        held = given;
        return {
          ...given,
          release: () => {
            if (held !== given) return;
            held = undefined;
            this.#release(given);
          },
        };
      },
      close: () => {
        if (isClosed) return;
        isClosed = true;
        if (held !== undefined) this.#takeBack(held);
        held = undefined;
        this.#leave();
      },
    };
  }

  /** Ends all clients. What they have not released is read again by the next consumer. */
  close(reason: Error): void {
    this.#end.abort(reason);
    for (const { fail } of this.#waiting.splice(0)) fail(reason);
    this.#reader.close();
  }

  #next(signal: AbortSignal): Promise<Delivery | undefined> {
    const turn = Promise.withResolvers<Delivery | undefined>();
    if (this.#end.signal.aborted) return Promise.reject(this.#end.signal.reason as Error);
    const waiting: Waiting = {
      give: (delivery) => {
        signal.removeEventListener("abort", abort);
        turn.resolve(delivery);
      },
      fail: (err) => {
        signal.removeEventListener("abort", abort);
        turn.reject(err);
      },
    };
    const abort = (): void => {
      const position = this.#waiting.indexOf(waiting);
      if (position >= 0) this.#waiting.splice(position, 1);
      turn.reject(signal.reason as Error);
    };
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    signal.addEventListener("abort", abort, { once: true });
    this.#waiting.push(waiting);
    this.#serve();
    return turn.promise;
  }

  #serve(): void {
    while (this.#waiting.length > 0) {
      const returned = this.#returned.shift();
      if (returned === undefined) break;
      if (this.#given.has(returned)) this.#onRedelivery();
      this.#waiting.shift()?.give(returned);
    }
    if (this.#waiting.length > 0 && !this.#isReading && !this.#isExhausted) void this.#read();
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    try {
      const delivery = await this.#reader.next(this.#end.signal);
      if (delivery === undefined) {
        // A later producer's messages come behind the end: who asks again gets them.
        for (const { give } of this.#waiting.splice(0)) give(undefined);
        return;
      }
      this.#out += 1;
      const first = this.#waiting.shift();
      if (first === undefined) this.#returned.push(delivery);
      else first.give(delivery);
    } catch (err) {
      // The channel gives places back in order: one message that stays out keeps those behind it.
      if (this.#out > 0 && err instanceof ShimmyError && err.code === "SHIMMY_ERR_LIMIT") {
        this.#isExhausted = true;
        return;
      }
      // The role is over: who comes next opens it anew.
      this.#onEmpty();
      for (const { fail } of this.#waiting.splice(0)) fail(err);
    } finally {
      this.#isReading = false;
      this.#serve();
    }
  }

  #release(delivery: Delivery): void {
    this.#out -= 1;
    this.#isExhausted = false;
    delivery.release();
    this.#serve();
  }

  #takeBack(delivery: Delivery): void {
    this.#given.add(delivery);
    const older = this.#returned.findIndex(
      ({ generation, sequence }) =>
        generation > delivery.generation ||
        (generation === delivery.generation && sequence > delivery.sequence),
    );
    this.#returned.splice(older < 0 ? this.#returned.length : older, 0, delivery);
    this.#serve();
  }

  #leave(): void {
    this.#clients -= 1;
    if (this.#clients > 0) return;
    this.#onEmpty();
    this.close(new Error("no client is left"));
  }
}
