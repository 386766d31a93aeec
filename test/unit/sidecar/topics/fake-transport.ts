import { ShimmyError } from "../../../../common/errors.ts";
import type {
  ChannelKind,
  Delivery,
  OpenOptions,
  Start,
  TopicReader,
  TopicTransport,
  TopicWriter,
} from "../../../../sidecar/topics/transport.ts";

/** What tests say of a channel; a lock-free one overwrites beyond `slots`, a lock-based one is full. */
export interface FakeChannelOptions {
  readonly kind: ChannelKind;
  readonly slots?: number;
  readonly maxBytes?: number;
  readonly maxOut?: number;
}

interface Entry {
  readonly data: Buffer;
  readonly sequence: number;
  readonly generation: number;
}

/** A channel in the memory of this process, with the rules of the real ones. */
export class FakeChannel {
  readonly options: Required<FakeChannelOptions>;
  readonly entries: Entry[] = [];
  readonly readers = new Set<FakeReader>();
  generation = 7;
  writers = 0;
  isEnded = false;
  /** Consumers attached so far. */
  attached = 0;
  #sequence = 0;
  #overwritten = 0;
  #changed: (() => void)[] = [];

  constructor(options: FakeChannelOptions) {
    this.options = { slots: 8, maxBytes: 4096, maxOut: 2, ...options };
  }

  /** Position of the oldest entry that is there. */
  get oldest(): number {
    return this.#overwritten;
  }

  /** @returns Whether there was room. */
  publish(data: Uint8Array): boolean {
    const { kind, slots } = this.options;
    if (this.entries.length >= slots) {
      if (kind === "lock") return false;
      this.entries.shift();
      this.#overwritten += 1;
    }
    this.#sequence += 1;
    const entry = {
      data: Buffer.from(data),
      sequence: this.#sequence,
      generation: this.generation,
    };
    this.entries.push(entry);
    this.change();
    return true;
  }

  /** The publisher is started again: a new ring, numbers from the beginning, the old ones gone. */
  restartPublisher(): void {
    this.generation += 1;
    this.#sequence = 0;
    this.#overwritten += this.entries.length;
    this.entries.length = 0;
  }

  change(): void {
    for (const wake of this.#changed.splice(0)) wake();
  }

  changed(signal?: AbortSignal, timeoutMs?: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#changed.push(() => {
        resolve(true);
      });
      signal?.addEventListener("abort", () => {
        reject(signal.reason as Error);
      });
      if (timeoutMs !== undefined) setTimeout(resolve, timeoutMs, false);
    });
  }
}

class FakeReader implements TopicReader {
  readonly kind: ChannelKind;
  readonly maxBytes: number;
  readonly #channel: FakeChannel;
  /** Places are given back in order, as the real channel does. */
  readonly #out: { readonly entry: Entry; isReleased: boolean }[] = [];
  #position: number;
  #generation: number;
  #isClosed = false;

  constructor(channel: FakeChannel, start: Start) {
    this.#channel = channel;
    this.kind = channel.options.kind;
    this.maxBytes = channel.options.maxBytes;
    this.#position = start === "oldest" ? channel.oldest : channel.oldest + channel.entries.length;
    this.#generation = channel.entries[0]?.generation ?? channel.generation;
    channel.readers.add(this);
  }

  async next(signal: AbortSignal): Promise<Delivery | undefined> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#isClosed) throw new ShimmyError("SHIMMY_ERR_CLOSED", "closed");
      const found = this.kind === "lock" ? this.#consume() : this.#read();
      if (found !== undefined) return found;
      if (this.#channel.isEnded) return undefined;
      await this.#channel.changed(signal);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#channel.readers.delete(this);
    const left = this.#out.splice(0).filter(({ isReleased }) => !isReleased);
    this.#channel.entries.unshift(...left.map(({ entry }) => entry));
    this.#channel.change();
  }

  #consume(): Delivery | undefined {
    if (this.#out.length >= this.#channel.options.maxOut) {
      throw new ShimmyError("SHIMMY_ERR_LIMIT", "as many loans as may be are out");
    }
    const entry = this.#channel.entries.shift();
    if (entry === undefined) return undefined;
    const place = { entry, isReleased: false };
    this.#out.push(place);
    return {
      ...entry,
      missed: 0,
      release: () => {
        if (place.isReleased) throw new Error("released twice");
        place.isReleased = true;
        while (this.#out[0]?.isReleased === true) this.#out.shift();
        this.#channel.change();
      },
    };
  }

  #read(): Delivery | undefined {
    const { oldest, entries } = this.#channel;
    const skipped = Math.max(0, oldest - this.#position);
    this.#position += skipped;
    const entry = entries[this.#position - oldest];
    if (entry === undefined) return undefined;
    this.#position += 1;
    const isRestart = entry.generation !== this.#generation;
    this.#generation = entry.generation;
    return { ...entry, missed: isRestart ? "unknown" : skipped, release: () => undefined };
  }
}

/** Channels by topic. */
export class FakeTransport implements TopicTransport {
  readonly channels = new Map<string, FakeChannel>();
  /** Set: every attachment is refused with it. */
  refusal: Error | undefined;
  isClosed = false;

  /** Makes a channel. */
  add(topic: string, options: FakeChannelOptions): FakeChannel {
    const channel = new FakeChannel(options);
    this.channels.set(topic, channel);
    return channel;
  }

  openWriter(options: OpenOptions): Promise<TopicWriter> {
    return this.#attach(options, (channel) => {
      channel.writers += 1;
      let isClosed = false;
      return {
        kind: channel.options.kind,
        maxBytes: channel.options.maxBytes,
        isOver: false,
        publish: async (data, timeoutMs) => {
          const until = performance.now() + timeoutMs;
          while (!channel.publish(data)) {
            if (performance.now() >= until) {
              throw new ShimmyError("SHIMMY_ERR_TIMEOUT", `not done within ${timeoutMs} ms`);
            }
            await channel.changed(undefined, until - performance.now());
          }
        },
        isDrained: () => Promise.resolve(channel.entries.length === 0),
        close: () => {
          if (!isClosed) channel.writers -= 1;
          isClosed = true;
        },
      };
    });
  }

  openReader(options: OpenOptions & { readonly start: Start }): Promise<TopicReader> {
    return this.#attach(options, (channel) => {
      if (channel.options.kind === "lock" && channel.readers.size > 0) {
        throw new Error("a second consumer would stand by");
      }
      channel.attached += 1;
      return new FakeReader(channel, options.start);
    });
  }

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }

  async #attach<T>({ topic, create }: OpenOptions, role: (channel: FakeChannel) => T): Promise<T> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.refusal !== undefined) throw this.refusal;
    const channel = this.channels.get(topic);
    if (channel !== undefined) return role(channel);
    if (create !== undefined) return role(this.add(topic, { kind: create }));
    throw new ShimmyError("SHIMMY_ERR_NOT_FOUND", `topic ${topic} has no channel`);
  }
}
