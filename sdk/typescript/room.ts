import { ShimmyError } from "../../common/errors.ts";
import type { ChannelEndpoint } from "../../shm-core/lib/channel-endpoint.ts";
import { checkedCall, nativeChannels } from "../../shm-core/lib/channel-native.ts";
import { ChannelStatus } from "../../shm-core/lib/status.ts";

/** What a room is made of. */
interface RoomParts {
  readonly endpoint: ChannelEndpoint;
  /** Its native number. */
  readonly loan: number;
  /** The room's own memory, or a copy's. */
  readonly bytes: Buffer;
  /** Whether `bytes` is to be copied into the room. */
  readonly isCopy: boolean;
  /** Called once when the room is given back. */
  readonly onEnd: () => void;
}

/**
 * Room for a message in a channel, from `reserve()` until it is committed or cancelled.
 *
 * Declare it with `using`: a room that is left without {@link Room.commit} is cancelled.
 */
export class Room implements Disposable {
  readonly #parts: RoomParts;
  readonly #holder: object;
  #isOver = false;

  constructor(parts: RoomParts) {
    this.#parts = parts;
    this.#holder = parts.isCopy ? this : parts.bytes.buffer;
    parts.endpoint.watch(this.#holder, parts.loan, true);
  }

  /**
   * To write the message into; it holds anything before. A large one is the channel's own memory,
   * and its length is 0 once the room is over.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` when the room is over.
   */
  get bytes(): Buffer {
    this.#demandOpen();
    return this.#parts.bytes;
  }

  /**
   * Publishes the first `length` bytes, by default all.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` when the room is over, or the endpoint.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `length` is more than there are, or
   * a room that was reserved before is still out: rooms are committed in their order. Also when its
   * memory was transferred away, to a worker perhaps: then it stays out until the process ends.
   */
  commit(length?: number): void {
    this.#demandOpen();
    const { endpoint, loan, bytes, isCopy } = this.#parts;
    const size = length ?? bytes.length;
    if (!Number.isInteger(size) || size < 0 || size > bytes.length) {
      throw new ShimmyError(
        "SHIMMY_ERR_INVALID_OPTION",
        `length must be from 0 to ${bytes.length}, got ${size}`,
      );
    }
    const data = isCopy ? bytes : undefined;
    const result = nativeChannels().channelCommit(endpoint.id, loan, size, data);
    // Out of turn: it stays.
    if (result !== ChannelStatus.misuse) this.#end();
    checkedCall(result, "commit");
  }

  /** Gives the room back without a message, unless it is over. */
  cancel(): void {
    if (this.#isOver) return;
    const { endpoint, loan } = this.#parts;
    this.#end();
    if (!endpoint.isClosed) nativeChannels().channelCancel(endpoint.id, loan);
  }

  [Symbol.dispose](): void {
    this.cancel();
  }

  #demandOpen(): void {
    if (!this.#isOver && !this.#parts.endpoint.isClosed) return;
    throw new ShimmyError("SHIMMY_ERR_CLOSED", "the room was committed, cancelled or closed");
  }

  #end(): void {
    this.#isOver = true;
    this.#parts.endpoint.unwatch(this.#holder);
    this.#parts.onEnd();
  }
}
