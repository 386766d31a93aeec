import { ShimmyError } from "../../common/errors.ts";
import { nativeChannels, request } from "./channel-native.ts";
import type { NativeEndpointOptions } from "./native.ts";

/** How long the agent has to answer, in ms. */
const DEFAULT_TIMEOUT_MS = 5000;

/** Options for {@link ChannelClient.connect}. */
export interface ConnectOptions {
  /**
   * The agent's socket: a path, or a name in the abstract namespace behind `@`. By default the
   * environment variable `SHIMMY_FD_SOCKET`, else `@shimmy/fd`, the one in pods.
   */
  readonly socket?: string;
  /** How long the agent has to answer this and each attachment, in ms. @defaultValue 5000 */
  readonly timeoutMs?: number;
}

/** Closes connections that were dropped without being closed. */
const safetyNet = new FinalizationRegistry<number>((id) => {
  void disconnect(id);
});

/** This process's connection to its node's agent, by its native id. */
export class ChannelClient {
  readonly #id: number;
  readonly #attaching = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  private constructor(id: number) {
    this.#id = id;
    safetyNet.register(this, id, this);
  }

  /**
   * Connects to the agent.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_AGENT_UNAVAILABLE` when no agent answers in time.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a time that is not above 0.
   */
  static async connect({
    socket,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  }: ConnectOptions): Promise<ChannelClient> {
    if (!(timeoutMs > 0 && timeoutMs < 2 ** 31)) {
      throw new ShimmyError(
        "SHIMMY_ERR_INVALID_OPTION",
        `timeoutMs must be above 0, got ${timeoutMs}`,
      );
    }
    const native = nativeChannels();
    return new ChannelClient(
      await request((number) => native.channelOpen(number, socket, timeoutMs)),
    );
  }

  /** Whether {@link ChannelClient.close} was called. */
  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * Takes a role in a channel.
   *
   * @returns The id of the native endpoint, which the caller owns.
   * @throws {@link ShimmyError} with the agent's code when it refuses.
   */
  async attach(topic: string, options: NativeEndpointOptions): Promise<number> {
    if (this.isClosed) throw new ShimmyError("SHIMMY_ERR_CLOSED", "the client is closed");
    const native = nativeChannels();
    const attached = request((number) => native.channelAttach(number, this.#id, topic, options));
    this.#attaching.add(attached);
    try {
      return await attached;
    } finally {
      this.#attaching.delete(attached);
    }
  }

  /** Ends the connection when attachments under way are done. Safe to call twice. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    safetyNet.unregister(this);
    await Promise.allSettled(this.#attaching);
    await disconnect(this.#id);
  }
}

async function disconnect(id: number): Promise<void> {
  await request((number) => nativeChannels().channelDisconnect(number, id));
}
