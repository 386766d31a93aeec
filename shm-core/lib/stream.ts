import { availableParallelism } from "node:os";
import { ShimmyError } from "../../common/errors.ts";
import { EventKind } from "./native.ts";
import { nativeWithEvents, onNativeEvent } from "./native-events.ts";
import { OwnedFd } from "./owned-fd.ts";
import {
  doOthersWait,
  resolveStreamOptions,
  StreamDirection,
  StreamWaits,
  type StreamOptions,
  type WaitMode,
} from "./stream-waits.ts";
import { StreamMemory } from "./stream-memory.ts";
import { checked, CoreStatus, statusError } from "./status.ts";

export type { StreamOptions, WaitMode } from "./stream-waits.ts";

/** Bytes of a stream's hand-over, which go with its descriptors. */
export const HANDOVER_BYTES = 80;

const DEFAULT_CAPACITY_BYTES = 65_536;
const MIN_CAPACITY_BYTES = 4096;
const MAX_CAPACITY_BYTES = 2 ** 30;
const DEFAULT_READ_BYTES = 65_536;
/** Longest time in native code: between two, a worker can be terminated. */
const SLICE_MS = 100;
/** With one CPU, who spins keeps the peer from running. */
const CAN_SPIN = availableParallelism() > 1;
/** How a native call may spin. Same numbers as `Spin` in src/spin_policy.h. */
const Spin = { none: 0, learned: 1, slice: 2 } as const;

/** Options for {@link streamPair}. */
export interface StreamPairOptions extends StreamOptions {
  /** Of each direction's ring, in bytes; a power of two from 4096 to 2^30. @defaultValue 65536 */
  readonly capacityBytes?: number;
}

/** Options for a synchronous read or write. */
export interface StreamSyncOptions {
  /** How long to block, in ms; `Infinity` for ever. @defaultValue 0 */
  readonly timeoutMs?: number;
}

/** An end of a stream on its way to another thread or process. */
export interface StreamHandover {
  /** The doorbell and the peer's half, in this order; closed after they were sent. */
  readonly fds: readonly [OwnedFd, OwnedFd];
  /** {@link HANDOVER_BYTES} bytes to send along. */
  readonly state: Buffer;
}

/** What one end did; for tests and benches. */
export interface StreamCounts {
  /** Writes made visible to the peer. */
  readonly publishes: number;
  /** System calls that woke the peer. */
  readonly bellsSent: number;
  readonly bellsEaten: number;
  /** Times the ring was full. */
  readonly plugsSent: number;
  readonly plugsTakenBack: number;
  readonly replacesSent: number;
  /** Times the peer was handed over or changed its ring. */
  readonly replacesTaken: number;
}

const streams = new Map<number, WeakRef<Stream>>();

// Set by the class below, which alone can reach its private members.
let createStream: (id: number, mode: WaitMode) => Stream;
let deliverReady: (stream: Stream, bits: number) => void;

/** Resets what was dropped without being closed: the peer must not take it for the end. */
const safetyNet = new FinalizationRegistry<number>((id) => {
  streams.delete(id);
  nativeWithEvents().streamReset(id);
});

/**
 * One end of a two-way byte stream in shared memory, like a TCP connection between two processes
 * of one node.
 *
 * Bytes are copied in by `write` and out by `read`: buffers stay the caller's. An empty ring, a
 * full one and a time-out are results; that the stream broke is an error. Used on the thread that
 * made it. A pending `read()` or `write()` keeps the process alive, an idle stream does not. One
 * that is collected as garbage, or whose worker is terminated, is reset.
 *
 * Every method but {@link Stream.close} and {@link Stream.reset} throws {@link ShimmyError}
 * `SHIMMY_ERR_CLOSED` after `close()`, `reset()` or `detach()`.
 */
export class Stream implements AsyncIterable<Buffer>, Disposable {
  static {
    createStream = (id, mode) => new Stream(id, mode);
    deliverReady = (stream, bits) => {
      stream.#waits.ready(bits);
    };
  }

  readonly #id: number;
  readonly #mode: WaitMode;
  readonly #waits: StreamWaits;
  readonly #memory: StreamMemory;
  #isClosed = false;

  private constructor(id: number, mode: WaitMode) {
    this.#id = id;
    this.#mode = mode;
    this.#waits = new StreamWaits(id);
    this.#memory = new StreamMemory(id);
    streams.set(id, new WeakRef(this));
    safetyNet.register(this, id, this);
  }

  /**
   * Goes on with an end that {@link Stream.detach} gave up, usually in another process. `fds` are
   * the stream's from here on, also when this throws. The peer notices nothing.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_STREAM_BROKEN` when `state` or a descriptor is not what
   * `detach` makes.
   * @throws {@link ShimmyError} `SHIMMY_ERR_NO_MEMORY` when there is none for this end's ring.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for an unknown waiting mode.
   */
  static attach(
    fds: readonly [OwnedFd, OwnedFd],
    state: Uint8Array,
    options: StreamOptions = {},
  ): Stream {
    const { mode } = resolveStreamOptions(options);
    const [doorbell, peerHalf] = [fds[0].release(), fds[1].release()];
    const id = nativeWithEvents().streamAttach(doorbell, peerHalf, state);
    return new Stream(checked(id, "attach"), mode);
  }

  /** Whether `close()`, `reset()` or `detach()` was called. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Copies out what has arrived, up to the length of `buffer`. Blocks this thread for at most
   * `timeoutMs`, and the event loop with it.
   *
   * @returns How many bytes (at least 1), 0 at the end of the stream, or `undefined` when nothing
   * arrived in time.
   * @throws {@link ShimmyError} `SHIMMY_ERR_STREAM_RESET`, `SHIMMY_ERR_PEER_DIED` or
   * `SHIMMY_ERR_STREAM_BROKEN`, after the last byte that the peer wrote.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for an empty buffer or a bad time.
   */
  readSync(buffer: Uint8Array, { timeoutMs = 0 }: StreamSyncOptions = {}): number | undefined {
    const direct = this.#memory.read(buffer);
    if (direct > 0) return direct;
    requireBytes(buffer.length);
    const result = this.#block(StreamDirection.read, timeoutMs, (spin) =>
      this.#readNow(buffer, spin),
    );
    return result === CoreStatus.wouldBlock ? undefined : lengthOrEnd(result);
  }

  /**
   * Copies in as much of `data` as finds room within `timeoutMs`. Blocks this thread, and the event
   * loop with it. What was written reaches the peer unless it dies; a write after the peer closed
   * may be taken until the ring is full, as TCP takes what fits its buffers.
   *
   * @returns How many bytes; fewer than given when the ring stayed full.
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after `end()`.
   * @throws {@link ShimmyError} `SHIMMY_ERR_STREAM_RESET` when the peer is closed or gone.
   * @throws {@link ShimmyError} `SHIMMY_ERR_STREAM_BROKEN` when the peer broke a rule.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a bad time.
   */
  writeSync(data: Uint8Array, { timeoutMs = 0 }: StreamSyncOptions = {}): number {
    const direct = this.#memory.write(data);
    if (direct === data.length) return direct;
    const deadline = performance.now() + timeoutMs;
    let written = 0;
    while (written < data.length) {
      const rest = data.subarray(written);
      const left = written === 0 ? timeoutMs : Math.max(0, deadline - performance.now());
      const result = this.#block(StreamDirection.write, left, (spin) => this.#writeNow(rest, spin));
      if (result === CoreStatus.wouldBlock) break;
      // An error after a part was written is found again by the next call.
      if (result < 0 && written > 0) break;
      written += checked(result, "write");
    }
    return written;
  }

  /**
   * Waits for bytes and copies out up to `maxBytes` of what has arrived. Calls are answered in
   * their order.
   *
   * @param maxBytes - At least 1. By default 65,536.
   * @returns A buffer of its own, with at least one byte; `undefined` at the end of the stream.
   * @throws {@link ShimmyError} as {@link Stream.readSync}; `SHIMMY_ERR_CLOSED` when the stream is
   * closed meanwhile.
   */
  read(maxBytes = DEFAULT_READ_BYTES): Promise<Buffer | undefined> {
    return this.#waits.inOrder(StreamDirection.read, async () => {
      requireBytes(maxBytes);
      let chunk: Buffer | undefined;
      const result = await this.#untilDone(StreamDirection.read, (spin) => {
        // Not held while the call waits: most streams wait most of the time.
        const buffer = borrowBuffer(maxBytes);
        const length = nativeWithEvents().streamRead(this.#id, buffer, spin);
        chunk = keepOf(buffer, Math.max(0, length));
        return length;
      });
      return lengthOrEnd(result) === 0 ? undefined : chunk;
    });
  }

  /**
   * Copies in all of `data`, waiting for room as often as needed. Calls are done in their order;
   * `data` must not change before the promise settles.
   *
   * @throws {@link ShimmyError} as {@link Stream.writeSync}; `SHIMMY_ERR_CLOSED` when the stream is
   * closed meanwhile. How much was written before is not known.
   */
  write(data: Uint8Array): Promise<void> {
    return this.#waits.inOrder(StreamDirection.write, async () => {
      for (let written = 0; written < data.length;) {
        const rest = data.subarray(written);
        const result = await this.#untilDone(StreamDirection.write, (spin) =>
          nativeWithEvents().streamWrite(this.#id, rest, spin),
        );
        written += checked(result, "write");
      }
    });
  }

  /** Reads to the end of the stream. Leaving the loop early leaves the stream open. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      const chunk = await this.read();
      if (chunk === undefined) return;
      yield chunk;
    }
  }

  /**
   * Ends our direction: the peer reads the end after our last byte, and can still write. Call it
   * when pending writes are done. Safe to call twice.
   */
  end(): void {
    checked(nativeWithEvents().streamFin(this.#id), "end");
  }

  /**
   * Gives this end up, so that another thread or process can go on with it by
   * {@link Stream.attach}. Both directions may have been used before; pending calls reject with
   * `SHIMMY_ERR_CLOSED`.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_NOT_MOVABLE` after `end()`, when the peer is gone, was
   * handed over itself, or has not noticed our last hand-over yet. The stream stays as it is.
   */
  detach(): StreamHandover {
    const state = Buffer.alloc(HANDOVER_BYTES);
    const result = nativeWithEvents().streamDetach(this.#id, state);
    if (typeof result === "number") throw statusError(result, "detach");
    this.#forget();
    return { fds: [new OwnedFd(result[0]), new OwnedFd(result[1])], state };
  }

  /** What this end did so far. */
  counts(): StreamCounts {
    const result = nativeWithEvents().streamCounts(this.#id);
    if (typeof result === "number") throw statusError(result, "read counts");
    const [publishes = 0, bellsSent = 0, bellsEaten = 0, plugsSent = 0, plugsTakenBack = 0] =
      result;
    const [replacesSent = 0, replacesTaken = 0] = result.slice(5);
    return {
      publishes,
      bellsSent,
      bellsEaten,
      plugsSent,
      plugsTakenBack,
      replacesSent,
      replacesTaken,
    };
  }

  /** Closes in order: the peer reads what was written, then the end. Safe to call twice. */
  close(): void {
    if (this.#isClosed) return;
    nativeWithEvents().streamClose(this.#id);
    this.#forget();
  }

  /** Ends both directions at once: the peer gets `SHIMMY_ERR_STREAM_RESET`. Safe to call twice. */
  reset(): void {
    if (this.#isClosed) return;
    nativeWithEvents().streamReset(this.#id);
    this.#forget();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #forget(): void {
    this.#isClosed = true;
    streams.delete(this.#id);
    safetyNet.unregister(this);
    this.#waits.cancel();
  }

  #readNow(buffer: Uint8Array, spin: number): number {
    const isSlice = spin === Spin.slice && CAN_SPIN;
    const direct = isSlice ? this.#memory.spinRead(buffer) : 0;
    if (direct > 0) return direct;
    const result = nativeWithEvents().streamRead(this.#id, buffer, isSlice ? Spin.none : spin);
    if (result === CoreStatus.wouldBlock || result > 0) this.#memory.refresh();
    return result;
  }

  #writeNow(data: Uint8Array, spin: number): number {
    const result = nativeWithEvents().streamWrite(this.#id, data, spin);
    if (result > 0) this.#memory.refresh();
    return result;
  }

  /** Repeats a native call until it is done or the time is over; blocks. */
  #block(direction: StreamDirection, timeoutMs: number, call: (spin: number) => number): number {
    if (!(timeoutMs >= 0)) {
      throw new ShimmyError(
        "SHIMMY_ERR_INVALID_OPTION",
        `timeoutMs must be 0 or more, got ${timeoutMs}`,
      );
    }
    if (timeoutMs === 0) return call(Spin.none);
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const result = call(this.#spin(Spin.slice));
      const leftMs = deadline - performance.now();
      if (result !== CoreStatus.wouldBlock || leftMs <= 0) return result;
      if (this.#mode === "spin" && CAN_SPIN) continue;
      nativeWithEvents().streamSleep(this.#id, direction, Math.ceil(Math.min(leftMs, SLICE_MS)));
    }
  }

  /** Repeats a native call until it is done; the event loop goes on between. */
  async #untilDone(direction: StreamDirection, call: (spin: number) => number): Promise<number> {
    for (;;) {
      // Spinning holds up the event loop, and with it every other stream.
      const result = call(doOthersWait(this.#waits) ? Spin.none : this.#spin(Spin.learned));
      if (result !== CoreStatus.wouldBlock) return result;
      await this.#waits.until(direction);
    }
  }

  #spin(whenSpinning: number): number {
    if (this.#mode === "sleep") return Spin.none;
    return this.#mode === "spin" ? whenSpinning : Spin.learned;
  }
}

/**
 * Both ends of a new stream, in this process; hand one over with {@link Stream.detach}.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when an option is out of range.
 * @throws {@link ShimmyError} `SHIMMY_ERR_NO_MEMORY` when memory or descriptors run out.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INTERNAL` when this kernel's sockets cannot be doorbells.
 */
export function streamPair(options: StreamPairOptions = {}): [Stream, Stream] {
  const { capacityBytes = DEFAULT_CAPACITY_BYTES, ...rest } = options;
  const { mode } = resolveStreamOptions(rest);
  const isInRange = capacityBytes >= MIN_CAPACITY_BYTES && capacityBytes <= MAX_CAPACITY_BYTES;
  if (!isInRange || !Number.isInteger(Math.log2(capacityBytes))) {
    throw new ShimmyError(
      "SHIMMY_ERR_INVALID_OPTION",
      `capacityBytes must be a power of two from 4096 to 2^30, got ${capacityBytes}`,
    );
  }
  const result = nativeWithEvents().streamPair(capacityBytes);
  if (typeof result === "number") throw statusError(result, "make a stream");
  return [createStream(result[0], mode), createStream(result[1], mode)];
}

onNativeEvent(EventKind.streamReady, (id, bits) => {
  const stream = streams.get(id)?.deref();
  if (stream !== undefined) deliverReady(stream, bits as number);
});

function lengthOrEnd(result: number): number {
  return result === CoreStatus.eof ? 0 : checked(result, "read");
}

/** The last buffer of {@link DEFAULT_READ_BYTES} that was hardly filled. */
let spare: Buffer | undefined;

function borrowBuffer(bytes: number): Buffer {
  const buffer = bytes === DEFAULT_READ_BYTES ? spare : undefined;
  if (buffer === undefined) return Buffer.allocUnsafe(bytes);
  spare = undefined;
  return buffer;
}

/** What was read. A small read does not keep a large buffer alive: the buffer is used again. */
function keepOf(buffer: Buffer, length: number): Buffer {
  const part = buffer.subarray(0, length);
  if (length * 2 >= buffer.length) return part;
  const copy = Buffer.from(part);
  if (buffer.length === DEFAULT_READ_BYTES) spare = buffer;
  return copy;
}

function requireBytes(count: number): void {
  if (Number.isInteger(count) && count > 0) return;
  throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", `read needs room for a byte, got ${count}`);
}
