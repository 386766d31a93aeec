import { ShimmyError } from "../../common/errors.ts";
import type { ChannelEndpoint } from "../../shm-core/lib/channel-endpoint.ts";
import { nativeChannels, type MessageMarks } from "../../shm-core/lib/channel-native.ts";
import { Status, statusError } from "../../shm-core/lib/status.ts";

/** What is known of a message beside its bytes. */
export interface MessageInfo {
  /** Grows; in a lock-free channel by one with each message of one publisher. */
  readonly sequence: number;
  /** Of the writer's ring: another one after each restart of a writer. */
  readonly generation: number;
  /**
   * Lock-free: how many messages of the same publisher were missed just before this one;
   * `"unknown"` behind a restart of the publisher. Lock-based: 0.
   */
  readonly missed: number | "unknown";
}

/** A message that was taken. */
export interface Message extends MessageInfo {
  /** Its bytes, in a buffer of its own. */
  readonly data: Buffer;
}

/** A message that was taken into a buffer of the caller's. */
export interface MessageInto extends MessageInfo {
  /** How many bytes of the buffer it takes. */
  readonly bytes: number;
}

/** What is known of a message, as programs see it. */
export function messageInfo({ sequence, generation, missed }: MessageMarks): MessageInfo {
  return { sequence, generation, missed: missed ?? "unknown" };
}

/** What a loan is made of. */
interface LoanParts {
  readonly endpoint: ChannelEndpoint;
  /** Its native number. */
  readonly loan: number;
  readonly data: Buffer;
  /** Whether `data` is a copy, as it is of a small message. */
  readonly isCopy: boolean;
  readonly info: MessageInfo;
}

/**
 * A message that is read in place, until it is released.
 *
 * Declare it with `using`, and keep no view of {@link Loan.data} beyond it. A loan that is forgotten
 * is released when it is collected as garbage, with a warning: until then it holds its blocks, of
 * which a channel has not many.
 */
export class Loan implements Message, Disposable {
  readonly sequence: number;
  readonly generation: number;
  readonly missed: number | "unknown";
  readonly #parts: LoanParts;
  readonly #holder: object;
  #isReleased = false;

  constructor(parts: LoanParts) {
    ({ sequence: this.sequence, generation: this.generation, missed: this.missed } = parts.info);
    this.#parts = parts;
    this.#holder = parts.isCopy ? this : parts.data.buffer;
    parts.endpoint.watch(this.#holder, parts.loan, false);
  }

  /**
   * The message's bytes. Those of a large one are in the channel's own memory: what this program
   * writes into them nobody else sees, and a hostile writer may change them meanwhile, so copy what
   * you check before you use it. Views of them have length 0 after the release.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after the release.
   */
  get data(): Buffer {
    this.#demandOpen();
    return this.#parts.data;
  }

  /** Whether it was released, or its endpoint closed. */
  get isReleased(): boolean {
    return this.#isReleased || this.#parts.endpoint.isClosed;
  }

  /**
   * Gives the message back; of a lock-based channel it counts as consumed from here on.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` when it was released before, or the endpoint was
   * closed.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when its memory was transferred away, to
   * a worker perhaps: then the loan stays out, and the role taken, until the process ends.
   */
  release(): void {
    this.#demandOpen();
    this.#release();
  }

  /** Releases it unless that was done. */
  [Symbol.dispose](): void {
    if (!this.isReleased) this.#release();
  }

  #release(): void {
    this.#isReleased = true;
    const { endpoint, loan } = this.#parts;
    endpoint.unwatch(this.#holder);
    // That the channel is over meanwhile does not matter to who gives back.
    const result = nativeChannels().channelRelease(endpoint.id, loan);
    if (result === Status.transferred) throw statusError(result, "release");
  }

  #demandOpen(): void {
    if (this.isReleased) throw new ShimmyError("SHIMMY_ERR_CLOSED", "the loan was released");
  }
}
