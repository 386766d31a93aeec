// What the two ends of a ping-pong in TypeScript have in common, whatever carries the bytes.

/** How an end waits for bytes. */
export type Waiting = "spin" | "default" | "sleep";

/** The ways to wait, as the native programs name them. */
export const WAITINGS = ["spin", "default", "sleep"] as const satisfies readonly Waiting[];

/** An open end that moves whole messages of one size. */
export interface PingEnd {
  /** Called with each complete message; the buffer is valid during the call only. */
  onMessage: (message: Buffer) => void;
  /** Called once when the stream has ended. */
  onEnd: () => void;
  /** Sends a message; the buffer must not change before the answer to it comes. */
  send(message: Buffer): void;
  close(): void;
}

/** Puts messages of one size together from pieces of any size. */
export class MessageAssembler {
  readonly #message: Buffer;
  readonly #onMessage: (message: Buffer) => void;
  #filled = 0;

  constructor(size: number, onMessage: (message: Buffer) => void) {
    this.#message = Buffer.alloc(size);
    this.#onMessage = onMessage;
  }

  /** Takes a piece; calls back for each message that it completes. */
  take(piece: Buffer): void {
    for (let at = 0; at < piece.length;) {
      const copied = piece.copy(this.#message, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled < this.#message.length) continue;
      this.#filled = 0;
      this.#onMessage(this.#message);
    }
  }
}

/** Reads every byte of a message and returns their sum, four bytes at a time. */
export function touchEveryByte(message: Buffer): number {
  const words = Math.floor(message.length / 4);
  let sum = 0;
  for (const word of new Uint32Array(message.buffer, message.byteOffset, words)) {
    sum = (sum + word) | 0;
  }
  for (let at = words * 4; at < message.length; at++) sum = (sum + (message[at] ?? 0)) | 0;
  return sum;
}

/** Keeps the event loop turning, so that it polls sockets and never sleeps. */
export function spinEventLoop(): void {
  const turn = (): void => {
    setImmediate(turn);
  };
  turn();
}
