import { ShimmyError } from "../../common/errors.ts";
import type { TopicCounters } from "./counters.ts";
import { SharedConsumer, type Subscription } from "./shared-consumer.ts";
import type { OpenOptions, Start, TopicReader, TopicTransport } from "./transport.ts";

/** Clients that read at once, all topics together. */
const MAX_SUBSCRIPTIONS = 128;
/** Each client is sent one message at a time; all of them together may be as large. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

/**
 * Roles to read: one consumer of each lock-based channel, shared by its clients, and a subscriber of
 * its own for each client of a lock-free one. The channel itself is the buffer between a subscriber
 * and its client, who when slow misses messages, in exact numbers, and holds up nobody.
 */
export class TopicReaders {
  readonly #transport: TopicTransport;
  readonly #counters: TopicCounters;
  readonly #shared = new Map<string, SharedConsumer>();
  readonly #own = new Set<TopicReader>();
  /** Two that open a lock-based channel at once would become consumer and standby. */
  readonly #opening = new Map<string, Promise<unknown>>();
  #count = 0;
  #heldBytes = 0;
  #isClosed = false;

  constructor(transport: TopicTransport, counters: TopicCounters) {
    this.#transport = transport;
    this.#counters = counters;
  }

  /**
   * Begins to read a topic.
   *
   * @throws {@link ShimmyError} With the agent's code when it refuses.
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` when there are too many clients.
   */
  async subscribe(options: OpenOptions & { readonly start: Start }): Promise<Subscription> {
    if (this.#isClosed) throw stopping();
    if (this.#count >= MAX_SUBSCRIPTIONS) {
      throw new ShimmyError("SHIMMY_ERR_LIMIT", `there are ${MAX_SUBSCRIPTIONS} subscribers`);
    }
    this.#count += 1;
    try {
      return this.#counted(await this.#inTurn(options.topic, () => this.#open(options)));
    } catch (err) {
      this.#count -= 1;
      throw err;
    }
  }

  /** Ends all subscriptions. */
  close(): void {
    this.#isClosed = true;
    for (const shared of this.#shared.values()) shared.close(stopping());
    for (const reader of this.#own) reader.close();
    this.#shared.clear();
    this.#own.clear();
  }

  async #open(options: OpenOptions & { readonly start: Start }): Promise<Subscription> {
    const { topic } = options;
    const known = this.#shared.get(topic);
    if (known !== undefined) return known.join();
    const reader = await this.#transport.openReader(options);
    if (this.#isClosed) {
      reader.close();
      throw stopping();
    }
    if (reader.kind === "lockfree") {
      this.#own.add(reader);
      return {
        kind: reader.kind,
        maxBytes: reader.maxBytes,
        next: (signal) => reader.next(signal),
        close: () => {
          this.#own.delete(reader);
          reader.close();
        },
      };
    }
    const shared: SharedConsumer = new SharedConsumer(reader, {
      onEmpty: () => {
        if (this.#shared.get(topic) === shared) this.#shared.delete(topic);
      },
      onRedelivery: () => {
        this.#counters.redelivered += 1;
      },
    });
    this.#shared.set(topic, shared);
    return shared.join();
  }

  async #inTurn<T>(topic: string, action: () => Promise<T>): Promise<T> {
    const before = this.#opening.get(topic);
    const turn = (async () => {
      await before?.catch(() => undefined);
      return await action();
    })();
    this.#opening.set(topic, turn);
    try {
      return await turn;
    } finally {
      if (this.#opening.get(topic) === turn) this.#opening.delete(topic);
    }
  }

  /** One client alone may read messages of any size. */
  #counted(subscription: Subscription): Subscription {
    const { maxBytes } = subscription;
    if (this.#heldBytes > 0 && this.#heldBytes + maxBytes > MAX_HELD_BYTES) {
      subscription.close();
      throw new ShimmyError(
        "SHIMMY_ERR_LIMIT",
        `messages of all subscribers together would be more than ${MAX_HELD_BYTES} bytes`,
      );
    }
    this.#heldBytes += maxBytes;
    let isClosed = false;
    return {
      ...subscription,
      close: () => {
        if (isClosed) return;
        isClosed = true;
        this.#count -= 1;
        this.#heldBytes -= maxBytes;
        subscription.close();
      },
    };
  }
}

function stopping(): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_CLOSED", "the sidecar is stopping");
}
