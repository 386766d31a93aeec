// The ends of a ping-pong in TypeScript: a socket or a stream, driven by events or synchronously.
import { readSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { Stream } from "../../shm-core/lib/stream.ts";

/** How an end waits for bytes. */
export type Waiting = "spin" | "default" | "sleep";

/** The ways to wait, as the native programs name them. */
export const WAITINGS = ["spin", "default", "sleep"] as const satisfies readonly Waiting[];

/** What carries the bytes; a socket is paused and has delivered nothing yet. */
export type Carrier = Socket | Stream;

/** An end that is driven by events, as a server in Node is. */
export interface EventEnd {
  /** Called with each complete message; the buffer is valid during the call only. */
  onMessage: (message: Buffer) => void;
  /** Called once when the stream has ended. */
  onEnd: () => void;
  /** Sends a message; the buffer must not change before the answer to it comes. */
  send(message: Buffer): void;
  close(): void;
}

/** An end that its thread asks again and again. */
export interface SpinningEnd {
  /** Fills the buffer. Returns false at the end of the stream. */
  read(message: Buffer): boolean;
  write(message: Buffer): void;
  close(): void;
}

/** Drives a carrier by events; messages have `size` bytes. */
export function driveByEvents(carrier: Carrier, size: number): EventEnd {
  return carrier instanceof Stream
    ? new StreamEventEnd(carrier, size)
    : new SocketEventEnd(carrier, size);
}

/** Drives a carrier by asking it without a pause. */
export function driveBySpinning(carrier: Carrier): SpinningEnd {
  return carrier instanceof Stream
    ? new StreamSpinningEnd(carrier)
    : new SocketSpinningEnd(carrier);
}

/** Reads every byte of a message and returns their sum, four bytes at a time. */
export function touchEveryByte(message: Buffer): number {
  const words = new Uint32Array(message.buffer, message.byteOffset, message.length >> 2);
  let sum = 0;
  // By index: an iterator would take four times as long, and hide what carries the bytes.

  for (let i = 0; i < words.length; i++) sum = (sum + (words[i] ?? 0)) | 0;
  for (let at = words.length * 4; at < message.length; at++) sum = (sum + (message[at] ?? 0)) | 0;
  return sum;
}

/** Puts messages of one size together from pieces of any size. */
class MessageAssembler {
  readonly #message: Buffer;
  readonly #onMessage: (message: Buffer) => void;
  #filled = 0;

  constructor(size: number, onMessage: (message: Buffer) => void) {
    this.#message = Buffer.from(new ArrayBuffer(size)); // of its own, so aligned to words
    this.#onMessage = onMessage;
  }

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

class SocketEventEnd implements EventEnd {
  onMessage: (message: Buffer) => void = () => undefined;
  onEnd: () => void = () => undefined;
  readonly #socket: Socket;

  constructor(socket: Socket, size: number) {
    this.#socket = socket;
    const assembler = new MessageAssembler(size, (message) => {
      this.onMessage(message);
    });
    socket.on("data", (piece: Buffer) => {
      assembler.take(piece);
    });
    socket.once("error", () => socket.destroy());
    socket.once("close", () => {
      this.onEnd();
    });
    socket.resume();
  }

  send(message: Buffer): void {
    this.#socket.write(message);
  }

  close(): void {
    this.#socket.end();
  }
}

class StreamEventEnd implements EventEnd {
  onMessage: (message: Buffer) => void = () => undefined;
  onEnd: () => void = () => undefined;
  readonly #stream: Stream;

  constructor(stream: Stream, size: number) {
    this.#stream = stream;
    const assembler = new MessageAssembler(size, (message) => {
      this.onMessage(message);
    });
    // Not before the caller has set its handlers.
    queueMicrotask(() => {
      void this.#readAll(assembler);
    });
  }

  send(message: Buffer): void {
    this.#stream.write(message).catch(() => {
      this.#stream.close();
    });
  }

  close(): void {
    this.#stream.close();
  }

  async #readAll(assembler: MessageAssembler): Promise<void> {
    try {
      for await (const piece of this.#stream) assembler.take(piece);
    } catch {
      // Closed by us while waiting, or by a peer that ended early: onEnd tells.
    }
    this.onEnd();
  }
}

/**
 * Node cannot read a socket synchronously, but its descriptor is there and does not block. Errors
 * carry no stack meanwhile: collecting one would cost more than the call.
 */
class SocketSpinningEnd implements SpinningEnd {
  readonly #socket: Socket;
  readonly #fd: number;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#fd = descriptorOf(socket);
    Error.stackTraceLimit = 0;
  }

  read(message: Buffer): boolean {
    for (let filled = 0; filled < message.length;) {
      const left = message.length - filled;
      const got = untilReady(() => readSync(this.#fd, message, filled, left, null));
      if (got === 0) return false;
      filled += got;
    }
    return true;
  }

  write(message: Buffer): void {
    for (let sent = 0; sent < message.length;) {
      const left = message.length - sent;
      sent += untilReady(() => writeSync(this.#fd, message, sent, left, null));
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

class StreamSpinningEnd implements SpinningEnd {
  readonly #stream: Stream;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  read(message: Buffer): boolean {
    for (let filled = 0; filled < message.length;) {
      const room = filled === 0 ? message : message.subarray(filled);
      const got = this.#stream.readSync(room, FOR_EVER) ?? 0;
      if (got === 0) return false;
      filled += got;
    }
    return true;
  }

  write(message: Buffer): void {
    this.#stream.writeSync(message, FOR_EVER);
  }

  close(): void {
    this.#stream.close();
  }
}

const FOR_EVER = { timeoutMs: Infinity } as const;

function untilReady(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== "EAGAIN") throw err;
    }
  }
}

function descriptorOf(socket: Socket): number {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  if (fd < 0) throw new Error("the socket has no descriptor");
  return fd;
}
