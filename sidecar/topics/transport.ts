/** The two kinds of channel, as the agent calls them. */
export type ChannelKind = "lock" | "lockfree";

/** What is to be opened. */
export interface OpenOptions {
  /** `namespace/name`. */
  readonly topic: string;
  /** Makes the channel, with default parameters, if there is none and the agent allows it. */
  readonly create?: ChannelKind;
}

/** Where a reader of a lock-free channel begins. */
export type Start = "oldest" | "newest";

/** A role by which messages are written. */
export interface TopicWriter {
  readonly kind: ChannelKind;
  /** Largest message, in bytes. */
  readonly maxBytes: number;
  /** Whether the agent has ended it: another one has to be opened. */
  readonly isOver: boolean;
  /**
   * Publishes one message.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when there was no room in time.
   * @throws {@link ShimmyError} `SHIMMY_ERR_MESSAGE_TOO_BIG` when there never is.
   */
  publish(data: Uint8Array, timeoutMs: number): Promise<void>;
  /** Whether everything was read, so that nothing of ours stays behind in a lock-based channel. */
  isDrained(): Promise<boolean>;
  close(): void;
}

/** A message on its way to an HTTP client. */
export interface Delivery {
  readonly data: Buffer;
  readonly sequence: number;
  readonly generation: number;
  readonly missed: number | "unknown";
  /** It has arrived: of a lock-based channel it counts as consumed from here on. */
  release(): void;
}

/** A role by which messages are read. */
export interface TopicReader {
  readonly kind: ChannelKind;
  /** Largest message, in bytes. */
  readonly maxBytes: number;
  /**
   * Waits for a message.
   *
   * @returns `undefined` when the writer has ended the channel.
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` when one has to be released first.
   * @throws The signal's reason when it is aborted.
   */
  next(signal: AbortSignal): Promise<Delivery | undefined>;
  /** What was not released is given to the next reader. Safe to call twice. */
  close(): void;
}

/** How topics are reached: the port behind which the SDK is, and in tests a channel in memory. */
export interface TopicTransport {
  /** @throws {@link ShimmyError} With the agent's code when it refuses. */
  openWriter(options: OpenOptions): Promise<TopicWriter>;
  /** @throws {@link ShimmyError} With the agent's code when it refuses. */
  openReader(options: OpenOptions & { readonly start: Start }): Promise<TopicReader>;
  close(): Promise<void>;
}
