import { ShimmyError } from "../../common/errors.ts";
import {
  channelError,
  checkedCall,
  loanNumber,
  nativeChannels,
} from "../../shm-core/lib/channel-native.ts";
import type { AsyncWaitOptions, WaitOptions } from "../../shm-core/lib/channel-waits.ts";
import { ChannelStatus } from "../../shm-core/lib/status.ts";
import { Endpoint } from "./endpoint.ts";
import { Room } from "./room.ts";

/** Rooms up to this size are written into other memory and copied: that is quicker. */
const COPIED_ROOM_BYTES = 16_384;

/**
 * What producers and publishers have in common.
 *
 * `publish` waits while the channel is full, `publishSync` blocks this thread and its event loop,
 * `tryPublish` does neither. Data may be changed as soon as a call is done. Asynchronous calls are
 * done in their order.
 *
 * Every method but {@link Endpoint.close} throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after
 * `close()` and, if it publishes, after `end()`; with another code and the reason in words when the
 * agent has ended the attachment.
 */
export abstract class Writer extends Endpoint {
  /** Rooms that are out, by their bytes; a size may be there several times. */
  readonly #reserved: number[] = [];

  /**
   * Publishes one message, of 0 bytes or more.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_MESSAGE_TOO_BIG` when it is larger than the channel.
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when there was no room in time.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` while rooms of a producer are out: what
   * was reserved before comes first.
   */
  async publish(data: Uint8Array, options: AsyncWaitOptions = {}): Promise<void> {
    const id = this.channel.id;
    const attempt = (wait: number): number => nativeChannels().channelPublish(id, data, wait);
    if (!this.channel.isBusy && options.signal?.aborted !== true) {
      const result = attempt(0);
      if (result === 0) return;
      if (result !== ChannelStatus.again) throw channelError(result, "publish");
    }
    const result = await this.channel.untilDone(attempt, options, () => data.length);
    checkedCall(result, "publish");
  }

  /**
   * Publishes one message; blocks this thread.
   *
   * @throws {@link ShimmyError} as {@link Writer.publish}.
   */
  publishSync(data: Uint8Array, { timeoutMs }: WaitOptions = {}): void {
    const id = this.channel.id;
    const attempt = (wait: number): number => nativeChannels().channelPublish(id, data, wait);
    checkedCall(this.channel.block(attempt, timeoutMs), "publish");
  }

  /**
   * Publishes one message if there is room for it now.
   *
   * @returns Whether there was.
   * @throws {@link ShimmyError} as {@link Writer.publish}.
   */
  tryPublish(data: Uint8Array): boolean {
    const result = nativeChannels().channelPublish(this.channel.id, data, 0);
    if (result === ChannelStatus.again) return false;
    checkedCall(result, "publish");
    return true;
  }

  /**
   * Reserves room for a message of up to `bytes`, to be written in place: at most `maxLoans` at once.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` when as many rooms as may be are out.
   * @throws {@link ShimmyError} as {@link Writer.publish}.
   */
  async reserve(bytes: number, options: AsyncWaitOptions = {}): Promise<Room> {
    const { attempt, room } = this.#reservation(bytes);
    const result = await this.channel.untilDone(attempt, options, () => bytes);
    checkedCall(result, "reserve");
    return room();
  }

  /**
   * Reserves room; blocks this thread.
   *
   * @throws {@link ShimmyError} as {@link Writer.reserve}.
   */
  reserveSync(bytes: number, { timeoutMs }: WaitOptions = {}): Room {
    const { attempt, room } = this.#reservation(bytes);
    checkedCall(this.channel.block(attempt, timeoutMs), "reserve");
    return room();
  }

  /**
   * Reserves room if there is any now.
   *
   * @returns The room, or `undefined`.
   * @throws {@link ShimmyError} as {@link Writer.reserve}.
   */
  tryReserve(bytes: number): Room | undefined {
    const { attempt, room } = this.#reservation(bytes);
    const result = attempt(0);
    if (result === ChannelStatus.again) return undefined;
    checkedCall(result, "reserve");
    return room();
  }

  /** Ends the channel: readers get the end behind the last message. Safe to call twice. */
  end(): void {
    checkedCall(nativeChannels().channelEnd(this.channel.id), "end");
  }

  /** Bytes of all blocks that are not reserved. */
  protected unreservedBytes(): number {
    const { maxBytes, blockBytes } = this.info();
    const reserved = this.#reserved.map((bytes) => Math.max(1, Math.ceil(bytes / blockBytes)));
    return maxBytes - blockBytes * reserved.reduce((sum, blocks) => sum + blocks, 0);
  }

  #reservation(bytes: number): { attempt: (wait: number) => number; room: () => Room } {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", `bytes must be 0 or more, got ${bytes}`);
    }
    const isCopy = bytes <= COPIED_ROOM_BYTES;
    let view: ArrayBuffer | undefined;
    let loan = 0;
    const attempt = (wait: number): number => {
      const result = nativeChannels().channelReserve(this.channel.id, bytes, wait, !isCopy);
      if (typeof result === "number" && result < 0) return result;
      if (typeof result !== "number") view = result;
      loan = loanNumber();
      return 0;
    };
    return { attempt, room: () => this.#room(bytes, loan, view) };
  }

  #room(bytes: number, loan: number, view: ArrayBuffer | undefined): Room {
    this.#reserved.push(bytes);
    return new Room({
      endpoint: this.channel,
      loan,
      bytes: view === undefined ? Buffer.alloc(bytes) : Buffer.from(view),
      isCopy: view === undefined,
      onEnd: () => {
        this.#reserved.splice(this.#reserved.indexOf(bytes), 1);
      },
    });
  }
}
