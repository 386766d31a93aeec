import type { LentMemory } from "./native.ts";
import { nativeWithEvents } from "./native-events.ts";

/**
 * Words of the control page, in units of 32 bits: their low halves, as the architectures that
 * Shimmy supports are little-endian. From docs/reference/half-layout.md.
 */
export const CONTROL_WORDS = {
  tail: 128 / 4,
  head: 256 / 4,
  wakeAt: 384 / 4,
  plugs: 528 / 4,
  moved: 536 / 4,
} as const;

/** Same numbers as `StreamMode` in src/stream.h. */
const Mode = { direct: 1, stale: 2 } as const;

/** As `kPublishBytes` in shimmy/stream_end.h: longer writes are pipelined by the native code. */
const MAX_DIRECT_WRITE = 4096;
/** Below this a loop is quicker than the call of a built-in function. */
const LOOP_BYTES = 48;
/** About a millisecond of looking. */
const LOOKS = 16_384;

// Node 22 has none.
const pause = (Atomics as { pause?: () => void }).pause ?? (() => undefined);

/**
 * The fast path of a stream, without a call into native code: copies bytes and moves cursors in the
 * memory that the stream lends, exactly as `WriteSome()` and `Read()` of shimmy/stream_end.h do
 * (docs/architecture.md, "Doorbell"; docs/adr/0009). Each method does all or nothing: where anything
 * but bytes and room would have to be looked at (an end, a plug, a replaced ring, a cursor that
 * crosses 4 GiB, a word of the peer out of range) it returns 0, and the native call has to be made.
 *
 * `Atomics` are sequentially consistent: each store below is also the FENCE before the loads
 * behind it.
 */
export class StreamMemory {
  readonly #id: number;
  #state = new Uint32Array();
  #mine = new Int32Array();
  #peer = new Int32Array();
  #ring = new Uint8Array();
  #peerRing = new Uint8Array();
  #capacity = 0;
  #peerCapacity = 0;
  #modeAt = 0;
  #tailAt = 0;
  #headAt = 0;
  #knownHeadAt = 0;
  #plugsEatenAt = 0;
  #publishesAt = 0;

  /** @param id - The native stream. Nothing is borrowed before {@link StreamMemory.refresh}. */
  constructor(id: number) {
    this.#id = id;
  }

  /** Borrows the stream's memory, if what was borrowed is no longer its. */
  refresh(): void {
    // After a detach by the native side every element is undefined.
    const mode = this.#state[this.#modeAt];
    if (mode !== undefined && mode !== Mode.stale) return;
    const lent = nativeWithEvents().streamLend(this.#id);
    if (typeof lent !== "number") this.#borrow(lent);
  }

  #borrow(lent: LentMemory): void {
    const [state, mine, peer, modeAt, tailAt, headAt, knownHeadAt, plugsEatenAt] = lent;
    const [publishesAt, capacity, peerCapacity, pageBytes] = lent.slice(8) as [
      number,
      number,
      number,
      number,
    ];
    this.#state = new Uint32Array(state);
    this.#mine = new Int32Array(mine, 0, pageBytes / 4);
    this.#peer = new Int32Array(peer, 0, pageBytes / 4);
    this.#ring = new Uint8Array(mine, pageBytes);
    this.#peerRing = new Uint8Array(peer, pageBytes);
    this.#capacity = capacity;
    this.#peerCapacity = peerCapacity;
    this.#modeAt = modeAt;
    this.#tailAt = tailAt;
    this.#headAt = headAt;
    this.#knownHeadAt = knownHeadAt;
    this.#plugsEatenAt = plugsEatenAt;
    this.#publishesAt = publishesAt;
  }

  /** Copies out what has arrived. Returns how many bytes, or 0: ask the native code. */
  read(out: Uint8Array): number {
    const state = this.#state;
    if (state[this.#modeAt] !== Mode.direct) return 0;
    const head = state[this.#headAt] ?? 0;
    // PEER tail: pairs with the release store in Publish().
    const unread = (Atomics.load(this.#peer, CONTROL_WORDS.tail) - head) >>> 0;
    if (unread === 0 || unread > this.#peerCapacity) return 0; // I9
    const bytes = unread < out.length ? unread : out.length;
    const next = (head + bytes) >>> 0;
    if (next < head) return 0;
    copy(this.#peerRing, head & (this.#peerCapacity - 1), out, 0, bytes);
    state[this.#headAt] = next;
    // Pairs with the acquire load in Room(); FENCE 4 with what follows.
    Atomics.store(this.#mine, CONTROL_WORDS.head, next | 0);
    const free = this.#peerCapacity - (unread - bytes);
    if (free >= this.#peerCapacity / 4) this.#eatPlugs();
    return bytes;
  }

  #eatPlugs(): void {
    // PEER plugs: pairs with the release store in PlugFull().
    const plugs = Atomics.load(this.#peer, CONTROL_WORDS.plugs) >>> 0;
    if (plugs !== this.#state[this.#plugsEatenAt]) nativeWithEvents().streamSettle(this.#id, 0);
  }

  /** Copies in all of `data`. Returns how many bytes, or 0: ask the native code. */
  write(data: Uint8Array): number {
    const state = this.#state;
    const bytes = data.length;
    if (state[this.#modeAt] !== Mode.direct) return 0;
    if (bytes === 0 || bytes > MAX_DIRECT_WRITE) return 0;
    const tail = state[this.#tailAt] ?? 0;
    const next = (tail + bytes) >>> 0;
    if (next < tail || !this.#hasRoom(tail, bytes)) return 0;
    copy(data, 0, this.#ring, tail & (this.#capacity - 1), bytes);
    this.#publish(tail, next);
    return bytes;
  }

  #publish(tail: number, next: number): void {
    const state = this.#state;
    state[this.#tailAt] = next;
    state[this.#publishesAt] = ((state[this.#publishesAt] ?? 0) + 1) >>> 0;
    // Pairs with the acquire load in Available(); FENCE 1 with what follows.
    Atomics.store(this.#mine, CONTROL_WORDS.tail, next | 0);
    // PEER moved, wake_at: old tail <= wake_at < new tail rings, in unsigned arithmetic (I8). With
    // 32 bits a bell too many is possible, one too few is not.
    const hasMoved = Atomics.load(this.#peer, CONTROL_WORDS.moved) !== 0;
    const distance = (Atomics.load(this.#peer, CONTROL_WORDS.wakeAt) - tail) >>> 0;
    const bytes = next - tail;
    if (hasMoved || distance < bytes) nativeWithEvents().streamSettle(this.#id, bytes);
  }

  #hasRoom(tail: number, bytes: number): boolean {
    const state = this.#state;
    const knownUsed = (tail - (state[this.#knownHeadAt] ?? 0)) >>> 0;
    if (knownUsed + bytes <= this.#capacity) return true;
    // PEER head: pairs with the release store in Consume(), so that the reader's copy has ended.
    const head = Atomics.load(this.#peer, CONTROL_WORDS.head) >>> 0;
    const used = (tail - head) >>> 0;
    if (used + bytes > this.#capacity) return false; // I9 included
    const high = state[this.#tailAt + 1] ?? 0;
    state[this.#knownHeadAt] = head;
    // Behind the tail by less than 4 GiB.
    state[this.#knownHeadAt + 1] = head > tail ? high - 1 : high;
    return true;
  }

  /**
   * Looks for bytes for about a millisecond, without ringing or asking to be rung, and reads them.
   * Returns how many, or 0: ask the native code, which alone sees the end of the stream.
   */
  spinRead(out: Uint8Array): number {
    const peer = this.#peer;
    if (this.#state[this.#modeAt] !== Mode.direct) return 0;
    const head = (this.#state[this.#headAt] ?? 0) | 0;
    for (let look = 0; look < LOOKS; look++) {
      if (Atomics.load(peer, CONTROL_WORDS.tail) !== head) return this.read(out);
      pause();
    }
    return 0;
  }
}

// eslint-disable-next-line max-params -- as memcpy, with places in both
function copy(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, bytes: number): void {
  if (bytes > LOOP_BYTES) {
    to.set(from.subarray(fromAt, fromAt + bytes), toAt);
    return;
  }
  for (let i = 0; i < bytes; i++) to[toAt + i] = from[fromAt + i] ?? 0;
}
