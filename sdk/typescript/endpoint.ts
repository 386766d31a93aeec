import { ChannelEndpoint, type ChannelCounters } from "../../shm-core/lib/channel-endpoint.ts";
import type { ChannelClient } from "../../shm-core/lib/channel-client.ts";
import type { WaitMode } from "../../shm-core/lib/stream-waits.ts";

/** A channel, and our part in it. */
export interface ChannelInfo {
  /** `namespace/name`. */
  readonly topic: string;
  /** Number of the channel: another one when a topic's channel was deleted and made again. */
  readonly channel: string;
  readonly kind: "lock" | "lockfree";
  readonly blocks: number;
  readonly blockBytes: number;
  readonly readers: number;
  readonly timeToLiveMs: number;
  readonly maxLoans: number;
  /** `standby`: takes over when the live one has gone; as if full, or empty, until then. */
  readonly state: "live" | "standby" | "over";
  /** Writers, or readers, that are there. */
  readonly peers: number;
  /** Largest message, in bytes. */
  readonly maxBytes: number;
}

/** What an endpoint is made of. */
export interface EndpointParts {
  /** Not collected as garbage before the endpoint. */
  readonly client: ChannelClient;
  /** The native endpoint. */
  readonly id: number;
  readonly waitMode: WaitMode;
}

/**
 * One role in one channel.
 *
 * Used on the thread that made it. A call that waits keeps the process alive, an idle endpoint does
 * not. One that is collected as garbage, or whose worker is terminated, gives its role up.
 */
export abstract class Endpoint implements Disposable {
  /** How calls wait. */
  protected readonly channel: ChannelEndpoint;
  readonly #client: ChannelClient;

  /** Made by {@link ShimmyClient}. */
  constructor({ client, id, waitMode }: EndpointParts) {
    this.#client = client;
    this.channel = new ChannelEndpoint(id, waitMode);
  }

  /** Whether it, or its client, was closed by this program. */
  get isClosed(): boolean {
    return this.channel.isClosed || this.#client.isClosed;
  }

  /**
   * The channel as it is now.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after `close()`.
   */
  info(): ChannelInfo {
    const [topic, channel, state, peers, maxBytes, kind, blocks, ...rest] = this.channel.describe();
    const [blockBytes, readers, timeToLiveMs, maxLoans] = rest;
    return {
      topic,
      channel,
      kind: kind === 1 ? "lock" : "lockfree",
      blocks,
      blockBytes,
      readers,
      timeToLiveMs,
      maxLoans,
      state: state === 1 ? "live" : state === 2 ? "standby" : "over",
      peers,
      maxBytes,
    };
  }

  /**
   * What this endpoint did since it was attached.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after `close()`.
   */
  counters(): ChannelCounters {
    return this.channel.counters();
  }

  /**
   * Gives the role up. Calls that wait reject with `SHIMMY_ERR_CLOSED`, loans and rooms are void.
   * The channel is not ended, and what nobody has read stays for the next reader. Safe to call
   * twice.
   */
  close(): void {
    this.channel.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
