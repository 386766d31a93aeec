import { expect } from "chai";
import { nativeWithEvents } from "../../../../shm-core/lib/native-events.ts";
import { CoreStatus } from "../../../../shm-core/lib/status.ts";
import { CONTROL_WORDS, StreamMemory } from "../../../../shm-core/lib/stream-memory.ts";
import { readSource } from "../../docs/sources.ts";

const CAPACITY = 16_384;
const NO_SPIN = 0;
const GIB = 2 ** 30;

/** One end: its native id, and its memory as JavaScript uses it. */
class End {
  readonly id: number;
  readonly memory: StreamMemory;

  constructor(id: number) {
    this.id = id;
    this.memory = new StreamMemory(id);
    this.memory.refresh();
  }

  nativeRead(bytes: number): Buffer | number {
    const out = Buffer.alloc(bytes);
    const got = native().streamRead(this.id, out, NO_SPIN);
    return got > 0 ? out.subarray(0, got) : got;
  }

  directRead(bytes: number): Buffer {
    const out = Buffer.alloc(bytes);
    return out.subarray(0, this.memory.read(out));
  }

  nativeWrite(data: Uint8Array): number {
    return native().streamWrite(this.id, data, NO_SPIN);
  }

  /** Publishes, bells sent, bells eaten, plugs sent, plugs taken back. */
  counts(): number[] {
    return native().streamCounts(this.id) as number[];
  }

  /** The words that this end writes and its peer reads: what a hostile peer would use. */
  words(): Int32Array {
    const lent = native().streamLend(this.id);
    if (typeof lent === "number") throw new Error(`streamLend: ${lent}`);
    return new Int32Array(lent[1], 0, 1024);
  }
}

function native(): ReturnType<typeof nativeWithEvents> {
  return nativeWithEvents();
}

function pattern(bytes: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (seed + i * 7) & 0xff));
}

/** A small generator of numbers that a seed repeats. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("StreamMemory", function () {
  let ends: [End, End];

  beforeEach(function () {
    const ids = native().streamPair(CAPACITY);
    if (typeof ids === "number") throw new Error(`streamPair: ${ids}`);
    ends = [new End(ids[0]), new End(ids[1])];
  });

  afterEach(function () {
    for (const { id } of ends) native().streamClose(id);
  });

  it("should know where the words are", function () {
    const header = readSource("shm-core/include/shimmy/layout.h");
    const fields = { wakeAt: "wake_at" } as Record<string, string>;
    for (const [name, index] of Object.entries(CONTROL_WORDS)) {
      const field = fields[name] ?? name;
      expect(header).to.include(`static_assert(offsetof(ControlPage, ${field}) == ${index * 4});`);
    }
  });

  it("should exchange bytes with the native calls, either way", function () {
    const [a, b] = ends;
    for (const bytes of [1, 7, 48, 49, 100, 4096]) {
      expect(a.memory.write(pattern(bytes, bytes))).to.equal(bytes);
      expect(b.nativeRead(CAPACITY)).to.deep.equal(pattern(bytes, bytes));
      expect(b.nativeWrite(pattern(bytes, 1))).to.equal(bytes);
      expect(a.directRead(CAPACITY)).to.deep.equal(pattern(bytes, 1));
    }
    expect(a.counts()[0]).to.equal(6);
  });

  it("should leave to the native code what is not simple", function () {
    const [a, b] = ends;
    expect(a.memory.read(Buffer.alloc(1)), "nothing there").to.equal(0);
    expect(a.memory.write(Buffer.alloc(4097)), "long").to.equal(0);
    expect(a.memory.write(Buffer.alloc(0)), "empty").to.equal(0);
    expect(new StreamMemory(a.id).write(Buffer.alloc(1)), "not borrowed").to.equal(0);
    native().streamFin(a.id);
    expect(a.memory.write(Buffer.alloc(1)), "ended").to.equal(0);
    expect(b.nativeRead(1)).to.equal(CoreStatus.eof);
    native().streamClose(b.id);
    expect(b.memory.read(Buffer.alloc(1)), "closed").to.equal(0);
    expect(b.memory.write(Buffer.alloc(1)), "closed").to.equal(0);
    expect(b.memory.spinRead(Buffer.alloc(1)), "closed").to.equal(0);
  });

  it("should ring once for a reader that waits, and not for one that does not", function () {
    const [a, b] = ends;
    expect(b.nativeRead(1)).to.equal(CoreStatus.wouldBlock);
    for (let i = 0; i < 10; i++) a.memory.write(pattern(10, i));
    expect(a.counts()[1]).to.equal(1);
    expect(b.directRead(CAPACITY)).to.have.length(100);
    a.memory.write(pattern(10, 0));
    expect(a.counts()[1]).to.equal(1);
    expect(b.nativeRead(100)).to.have.length(10);
    expect(b.nativeRead(1)).to.equal(CoreStatus.wouldBlock);
    expect(b.counts()[2], "eaten").to.equal(1);
  });

  it("should eat the plug of a writer that waits for room", function () {
    const [a, b] = ends;
    expect(a.nativeWrite(pattern(CAPACITY + 1, 0))).to.equal(CAPACITY);
    expect(a.counts()[3], "plugs").to.equal(1);
    expect(a.memory.write(Buffer.alloc(1)), "full").to.equal(0);
    const eaten = b.counts()[2] ?? 0;
    expect(b.directRead(100)).to.have.length(100);
    expect(b.counts()[2], "a quarter is not free").to.equal(eaten);
    expect(b.directRead(CAPACITY / 2)).to.have.length(CAPACITY / 2);
    // What `eaten` does not count: plugs. A writer that gets everything in takes none back then.
    expect(a.nativeWrite(pattern(100, 1))).to.equal(100);
    expect(a.counts()[4], "taken back").to.equal(0);
    expect(a.memory.write(pattern(100, 2)), "simple again").to.equal(100);
  });

  it("should agree with the native calls in any mixture", function () {
    this.timeout(20_000);
    for (let seed = 1; seed <= 20; seed++) mix(ends, generator(seed), `seed ${seed}`);
  });

  it("should carry on across 4 GiB", function () {
    this.timeout(60_000);
    const [a, b] = ends;
    passOn(a, b, 4 * GIB - 2 * CAPACITY);
    let direct = 0;
    for (let at = 0; at < 4 * CAPACITY; at += 1000) {
      const data = pattern(1000, at);
      const written = a.memory.write(data);
      if (written === 0) expect(a.nativeWrite(data)).to.equal(1000);
      const got = b.directRead(1000);
      expect(got.length > 0 ? got : b.nativeRead(1000)).to.deep.equal(data);
      direct += written > 0 && got.length > 0 ? 1 : 0;
    }
    expect(direct).to.be.within(64, 65);
  });

  it("should overwrite nothing unread when it was handed over just before 4 GiB", function () {
    this.timeout(60_000);
    const [a, b] = ends;
    passOn(a, b, 4 * GIB - CAPACITY);
    const last = CAPACITY - 100;
    passOn(a, b, last, last);
    const state = Buffer.alloc(80);
    const fds = native().streamDetach(a.id, state);
    if (typeof fds === "number") throw new Error(`streamDetach: ${fds}`);
    const moved = new End(native().streamAttach(fds[0], fds[1], state));
    ends = [moved, b];
    // Natively across the boundary: what is known of the reader is from before the hand-over.
    let sent = moved.nativeWrite(stretch(0, 3000));
    for (let written = 1; written > 0 && sent <= CAPACITY; sent += written) {
      const data = stretch(sent, 90);
      written = moved.memory.write(data) || Math.max(0, moved.nativeWrite(data));
    }
    expect(sent).to.equal(CAPACITY);
    expect(b.nativeRead(2 * CAPACITY)).to.deep.equal(stretch(0, CAPACITY));
  });

  it("should notice that the peer was replaced, and go on", function () {
    const [a, b] = ends;
    expect(a.memory.write(pattern(10, 0))).to.equal(10);
    const state = Buffer.alloc(80);
    const fds = native().streamDetach(b.id, state);
    if (typeof fds === "number") throw new Error(`streamDetach: ${fds}`);
    expect(b.memory.read(Buffer.alloc(10)), "given away").to.equal(0);
    const moved = new End(native().streamAttach(fds[0], fds[1], state));
    ends = [a, moved];
    expect(moved.directRead(10)).to.deep.equal(pattern(10, 0));
    expect(moved.memory.write(pattern(20, 1))).to.equal(20);
    // It writes in a half that we have not taken yet.
    expect(a.memory.read(Buffer.alloc(20))).to.equal(0);
    expect(a.nativeRead(20)).to.deep.equal(pattern(20, 1));
    a.memory.refresh();
    expect(moved.memory.write(pattern(20, 2))).to.equal(20);
    expect(a.directRead(20)).to.deep.equal(pattern(20, 2));
    expect(a.memory.write(pattern(30, 3))).to.equal(30);
    expect(moved.directRead(30)).to.deep.equal(pattern(30, 3));
  });

  for (const [name, word] of Object.entries(CONTROL_WORDS)) {
    it(`should survive any value of the peer's ${name}`, function () {
      const random = generator(word);
      for (let i = 0; i < 200; i++) lie(word, [random(2 ** 32), random(4) === 0 ? 1 : 0]);
    });
  }
});

/** Moves so many bytes by native calls, so that cursors get large. */
function passOn(from: End, to: End, bytes: number, chunkBytes = CAPACITY): void {
  const chunk = pattern(chunkBytes, 3);
  const out = Buffer.alloc(chunkBytes);
  for (let moved = 0; moved < bytes; moved += chunkBytes) {
    if (native().streamWrite(from.id, chunk, NO_SPIN) !== chunkBytes) throw new Error("write");
    if (native().streamRead(to.id, out, NO_SPIN) !== chunkBytes) throw new Error("read");
  }
}

/** Random reads and writes of both ends, by both ways; the bytes must be those of a queue. */
function mix(ends: readonly [End, End], random: (below: number) => number, hint: string): void {
  const flows = [new Flow(ends[0], ends[1]), new Flow(ends[1], ends[0])] as const;
  for (let step = 0; step < 3000; step++) {
    const flow = random(2) === 0 ? flows[0] : flows[1];
    const bytes = 1 + random(random(10) === 0 ? 6000 : 200);
    const isDirect = random(2) === 0;
    if (random(2) === 0) flow.write(bytes, isDirect);
    else flow.read(bytes, isDirect, `${hint}, step ${step}`);
  }
  for (const flow of flows) flow.drain(hint);
}

/** One direction of a stream, and what is to come out of it. */
class Flow {
  readonly #writer: End;
  readonly #reader: End;
  #sent = 0;
  #got = 0;

  constructor(writer: End, reader: End) {
    this.#writer = writer;
    this.#reader = reader;
  }

  write(bytes: number, isDirect: boolean): void {
    const data = stretch(this.#sent, bytes);
    const { memory } = this.#writer;
    this.#sent += isDirect ? memory.write(data) : Math.max(0, this.#writer.nativeWrite(data));
  }

  read(bytes: number, isDirect: boolean, hint: string): boolean {
    const answer = isDirect ? this.#reader.directRead(bytes) : this.#reader.nativeRead(bytes);
    if (typeof answer === "number") return false;
    expect(answer.equals(stretch(this.#got, answer.length)), hint).to.equal(true);
    this.#got += answer.length;
    return true;
  }

  drain(hint: string): void {
    while (this.read(CAPACITY, false, hint));
    expect(this.#got, hint).to.equal(this.#sent);
  }
}

/** The bytes of an endless text from position `at` on. */
function stretch(at: number, bytes: number): Buffer {
  return Buffer.from(
    Uint8Array.from({ length: bytes }, (_, i) => ((at + i) * 2_654_435_761) >>> 24),
  );
}

/** A new stream whose one end stores this value in one of its words while the other goes on. */
function lie(word: number, [low, high]: readonly [number, number]): void {
  const ids = native().streamPair(CAPACITY);
  if (typeof ids === "number") throw new Error(`streamPair: ${ids}`);
  const [victim, liar] = [new End(ids[0]), new End(ids[1])];
  liar.memory.write(pattern(100, 0));
  victim.memory.write(pattern(100, 0));
  const words = liar.words();
  Atomics.store(words, word, low | 0);
  Atomics.store(words, word + 1, high);
  for (let i = 0; i < 8; i++) {
    expect(victim.memory.write(pattern(3000, i))).to.be.oneOf([0, 3000]);
    expect(victim.memory.read(Buffer.alloc(3000))).to.be.within(0, 3000);
    victim.nativeRead(3000);
    victim.nativeWrite(pattern(3000, i));
  }
  for (const { id } of [victim, liar]) native().streamReset(id);
}
