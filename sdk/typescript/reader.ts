import {
  channelError,
  loanNumber,
  messageBytes,
  messageMarks,
  nativeChannels,
} from "../../shm-core/lib/channel-native.ts";
import type { AsyncWaitOptions, WaitOptions } from "../../shm-core/lib/channel-waits.ts";
import { ChannelStatus } from "../../shm-core/lib/status.ts";
import { Endpoint } from "./endpoint.ts";
import { Loan, messageInfo, type Message, type MessageInto } from "./message.ts";

/** Messages up to this size are copied also by a loan: that is quicker. */
const COPIED_LOAN_BYTES = 16_384;

/** Where small messages are copied to first. Nothing stays in it between calls. */
const scratch = Buffer.allocUnsafeSlow(COPIED_LOAN_BYTES);

/** A native call and what to make of it when it is done. */
interface Read<T> {
  readonly attempt: (wait: number) => number;
  readonly value: () => T;
}

/**
 * What consumers and subscribers have in common.
 *
 * `take` waits for a message, `takeSync` blocks this thread and its event loop, `tryTake` does
 * neither; they return `undefined` when the writer has ended the channel. `takeInto` copies into a
 * buffer of the caller's, `loan` reads in place. Asynchronous calls are done in their order.
 *
 * The end is told once: a later writer's messages come behind it.
 *
 * Every method but {@link Endpoint.close} throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after
 * `close()`; with another code and the reason in words when the agent has ended the attachment.
 */
export abstract class Reader extends Endpoint implements AsyncIterable<Message> {
  #hasEnded = false;
  /** Length of the last message that did not fit into the scratch buffer. */
  #expectedBytes = 0;

  /** Whether the last call found that the writer has ended the channel. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /**
   * Takes the next message, in a buffer of its own.
   *
   * @returns The message, or `undefined` when the channel was ended.
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when none came in time.
   */
  take(options: AsyncWaitOptions = {}): Promise<Message | undefined> {
    return this.#wait(this.#take(), options);
  }

  /**
   * Takes the next message; blocks this thread.
   *
   * @throws {@link ShimmyError} as {@link Reader.take}.
   */
  takeSync(options: WaitOptions = {}): Message | undefined {
    return this.#block(this.#take(), options);
  }

  /** Takes a message if there is one now, else returns `undefined`; see {@link Reader.hasEnded}. */
  tryTake(): Message | undefined {
    return this.#try(this.#take());
  }

  /**
   * Takes the next message into `buffer`, which must not be used before the promise settles.
   *
   * @returns How many bytes it has, or `undefined` when the channel was ended.
   * @throws {@link ShimmyError} `SHIMMY_ERR_MESSAGE_TOO_BIG` when it is larger than `buffer`: it
   * stays, and the next call finds it.
   * @throws {@link ShimmyError} as {@link Reader.take}.
   */
  takeInto(buffer: Uint8Array, options: AsyncWaitOptions = {}): Promise<MessageInto | undefined> {
    return this.#wait(this.#takeInto(buffer), options);
  }

  /**
   * Takes the next message into `buffer`; blocks this thread.
   *
   * @throws {@link ShimmyError} as {@link Reader.takeInto}.
   */
  takeIntoSync(buffer: Uint8Array, options: WaitOptions = {}): MessageInto | undefined {
    return this.#block(this.#takeInto(buffer), options);
  }

  /** Takes a message into `buffer` if there is one now, else returns `undefined`. */
  tryTakeInto(buffer: Uint8Array): MessageInto | undefined {
    return this.#try(this.#takeInto(buffer));
  }

  /**
   * Borrows the next message, to be read in place: at most `maxLoans` at once.
   *
   * @returns The loan, or `undefined` when the channel was ended.
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` when as many loans as may be are out: release one,
   * or take a copy.
   * @throws {@link ShimmyError} as {@link Reader.take}.
   */
  loan(options: AsyncWaitOptions = {}): Promise<Loan | undefined> {
    return this.#wait(this.#loan(), options);
  }

  /**
   * Borrows the next message; blocks this thread.
   *
   * @throws {@link ShimmyError} as {@link Reader.loan}.
   */
  loanSync(options: WaitOptions = {}): Loan | undefined {
    return this.#block(this.#loan(), options);
  }

  /** Borrows a message if there is one now, else returns `undefined`. */
  tryLoan(): Loan | undefined {
    return this.#try(this.#loan());
  }

  /** Takes messages until the channel is ended. Leaving the loop early leaves the endpoint open. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for (;;) {
      const message = await this.take();
      if (message === undefined) return;
      yield message;
    }
  }

  #take(): Read<Message> {
    let data = scratch;
    let length = 0;
    return {
      attempt: (wait) => {
        const id = this.channel.id;
        data = this.#expectedBytes > 0 ? Buffer.allocUnsafeSlow(this.#expectedBytes) : scratch;
        length = nativeChannels().channelTake(id, data, wait);
        // Of a lock-free channel the next one may be larger still.
        while (length === ChannelStatus.bufferTooSmall) {
          data = Buffer.allocUnsafeSlow(messageBytes());
          length = nativeChannels().channelTake(id, data, 0);
        }
        return length;
      },
      value: () => {
        const marks = messageMarks();
        const isLarge = length > COPIED_LOAN_BYTES;
        this.#expectedBytes = isLarge ? length : 0;
        const kept = isLarge && length * 2 > data.length;
        const own = kept ? data.subarray(0, length) : Buffer.from(data.subarray(0, length));
        return { data: own, ...messageInfo(marks) };
      },
    };
  }

  #takeInto(buffer: Uint8Array): Read<MessageInto> {
    let bytes = 0;
    return {
      attempt: (wait) => (bytes = nativeChannels().channelTake(this.channel.id, buffer, wait)),
      value: () => ({ bytes, ...messageInfo(messageMarks()) }),
    };
  }

  #loan(): Read<Loan> {
    let lent: ArrayBuffer | number = 0;
    return {
      attempt: (wait) => {
        lent = nativeChannels().channelLoan(this.channel.id, scratch, wait);
        return typeof lent === "number" ? lent : 0;
      },
      value: () =>
        new Loan({
          endpoint: this.channel,
          loan: loanNumber(),
          isCopy: typeof lent === "number",
          data:
            typeof lent === "number" ? Buffer.from(scratch.subarray(0, lent)) : Buffer.from(lent),
          info: messageInfo(messageMarks()),
        }),
    };
  }

  async #wait<T>({ attempt, value }: Read<T>, options: AsyncWaitOptions): Promise<T | undefined> {
    let found: T | undefined;
    // What a call leaves behind is read before anybody else calls.
    const attemptAndKeep = (wait: number): number => {
      const result = attempt(wait);
      if (result >= 0) found = value();
      return result;
    };
    if (!this.channel.isBusy && options.signal?.aborted !== true) {
      const result = attemptAndKeep(0);
      if (result !== ChannelStatus.again) return this.#result(result, () => found as T);
    }
    const result = await this.channel.untilDone(attemptAndKeep, options, () => 0);
    return this.#result(result, () => found as T);
  }

  #block<T>({ attempt, value }: Read<T>, { timeoutMs }: WaitOptions): T | undefined {
    return this.#result(this.channel.block(attempt, timeoutMs), value);
  }

  #try<T>({ attempt, value }: Read<T>): T | undefined {
    const result = attempt(0);
    this.#hasEnded = false;
    return result === ChannelStatus.again ? undefined : this.#result(result, value);
  }

  #result<T>(result: number, value: () => T): T | undefined {
    this.#hasEnded = result === ChannelStatus.end;
    if (result >= 0) return value();
    if (this.#hasEnded) return undefined;
    throw channelError(result, "read");
  }
}
