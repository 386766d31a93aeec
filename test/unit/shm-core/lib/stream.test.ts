import { expect } from "chai";
import { spawn, type ChildProcess } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { openSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { ShimmyError } from "../../../../common/errors.ts";
import { ControlServer, OwnedFd } from "../../../../shm-core/lib/control-socket.ts";
import {
  HANDOVER_BYTES,
  Stream,
  streamPair,
  type StreamPairOptions,
  type WaitMode,
} from "../../../../shm-core/lib/stream.ts";

const FIXTURES = join(import.meta.dirname, "..", "fixtures");
const SMALL = 4096;

async function codeOf(act: () => unknown): Promise<string | undefined> {
  try {
    await act();
  } catch (err) {
    return (err as ShimmyError).code;
  }
  return undefined;
}

/** Descriptors of memory and sockets; Node's own are neither. */
function countFds(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return /^socket:|memfd:shimmy/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false;
    }
  }).length;
}

async function readAll(stream: Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Attaches an end and uses both; returns the codes of what failed. */
async function codesOfUse(peer: Stream, attach: () => Stream): Promise<string[]> {
  const buffer = Buffer.alloc(SMALL);
  const codes: (string | undefined)[] = [];
  const use = async (end: Stream): Promise<void> => {
    codes.push(await codeOf(() => end.writeSync(buffer)));
    codes.push(await codeOf(() => end.readSync(buffer)));
  };
  let attached: Stream | undefined;
  codes.push(await codeOf(() => (attached = attach())));
  await use(peer);
  if (attached !== undefined) await use(attached);
  await use(peer);
  attached?.close();
  return codes.filter((code) => code !== undefined);
}

describe("streams", function () {
  let open: Stream[];
  let fdsBefore: number;

  function pair(options?: StreamPairOptions): [Stream, Stream] {
    const ends = streamPair(options);
    open.push(...ends);
    return ends;
  }

  beforeEach(function () {
    open = [];
    fdsBefore = countFds();
  });

  afterEach(async function () {
    for (const stream of open) stream.close();
    // Every test is a leak check.
    for (let i = 0; i < 200 && countFds() !== fdsBefore; i++) await delay(5);
    expect(countFds()).to.equal(fdsBefore);
  });

  describe("streamPair()", function () {
    for (const capacityBytes of [0, 100, 5000, 2 ** 31, NaN]) {
      it(`should refuse a capacity of ${capacityBytes}`, async function () {
        expect(await codeOf(() => streamPair({ capacityBytes }))).to.equal(
          "SHIMMY_ERR_INVALID_OPTION",
        );
      });
    }

    it("should refuse an unknown mode or option", async function () {
      const mode = "lazy" as WaitMode;
      expect(await codeOf(() => streamPair({ mode }))).to.equal("SHIMMY_ERR_INVALID_OPTION");
      const options = { capacity: SMALL } as StreamPairOptions;
      expect(await codeOf(() => streamPair(options))).to.equal("SHIMMY_ERR_INVALID_OPTION");
    });
  });

  for (const mode of ["adaptive", "sleep", "spin"] as const) {
    describe(`Stream in mode ${mode}`, function () {
      it("should carry bytes both ways", async function () {
        const [a, b] = pair({ mode });
        await a.write(Buffer.from("ping"));
        expect((await b.read())?.toString()).to.equal("ping");
        b.writeSync(Buffer.from("pong"));
        const buffer = Buffer.alloc(10);
        expect(a.readSync(buffer)).to.equal(4);
        expect(buffer.toString("utf8", 0, 4)).to.equal("pong");
      });

      it("should carry more than the ring holds, in order", async function () {
        const [a, b] = pair({ mode, capacityBytes: SMALL });
        const sent = randomBytes(1_000_000);
        const received = readAll(b);
        await a.write(sent);
        a.end();
        expect((await received).equals(sent)).to.equal(true);
      });

      it("should return undefined when nothing arrives in time", function () {
        const [a] = pair({ mode });
        const started = performance.now();
        expect(a.readSync(Buffer.alloc(1), { timeoutMs: 20 })).to.equal(undefined);
        expect(performance.now() - started).to.be.at.least(19);
      });

      it("should return a short count when the ring stays full", function () {
        const [a] = pair({ mode, capacityBytes: SMALL });
        expect(a.writeSync(Buffer.alloc(10_000), { timeoutMs: 20 })).to.equal(SMALL);
        expect(a.writeSync(Buffer.alloc(1))).to.equal(0);
      });
    });
  }

  describe("Stream#readSync()", function () {
    it("should return 0 at the end, again and again", function () {
      const [a, b] = pair();
      a.writeSync(Buffer.from("x"));
      a.end();
      const buffer = Buffer.alloc(10);
      expect(b.readSync(buffer)).to.equal(1);
      expect(b.readSync(buffer)).to.equal(0);
      expect(b.readSync(buffer)).to.equal(0);
    });

    it("should throw SHIMMY_ERR_STREAM_RESET after the last byte", async function () {
      const [a, b] = pair();
      a.writeSync(Buffer.from("x"));
      a.reset();
      expect(b.readSync(Buffer.alloc(1))).to.equal(1);
      expect(await codeOf(() => b.readSync(Buffer.alloc(1)))).to.equal("SHIMMY_ERR_STREAM_RESET");
    });

    it("should refuse an empty buffer and a bad time", async function () {
      const [a] = pair();
      const code = "SHIMMY_ERR_INVALID_OPTION";
      expect(await codeOf(() => a.readSync(Buffer.alloc(0)))).to.equal(code);
      const timeoutMs = NaN;
      expect(await codeOf(() => a.readSync(Buffer.alloc(1), { timeoutMs }))).to.equal(code);
    });

    it("should throw SHIMMY_ERR_CLOSED after close", async function () {
      const [a] = pair();
      a.close();
      expect(await codeOf(() => a.readSync(Buffer.alloc(1)))).to.equal("SHIMMY_ERR_CLOSED");
    });
  });

  describe("Stream#write()", function () {
    it("should keep the order of calls that wait for room", async function () {
      const [a, b] = pair({ capacityBytes: SMALL });
      const parts = Array.from({ length: 20 }, (_, i) => Buffer.alloc(3000, i));
      const writes = Promise.all(parts.map((part) => a.write(part)));
      const received = readAll(b);
      await writes;
      a.end();
      expect((await received).equals(Buffer.concat(parts))).to.equal(true);
    });

    it("should reject with SHIMMY_ERR_STREAM_RESET when the peer closes while it waits", async function () {
      const [a, b] = pair({ capacityBytes: SMALL });
      const write = codeOf(() => a.write(Buffer.alloc(100_000)));
      await delay(5);
      b.close();
      expect(await write).to.equal("SHIMMY_ERR_STREAM_RESET");
    });

    it("should reject with SHIMMY_ERR_CLOSED when the stream is closed while it waits", async function () {
      const [a] = pair({ capacityBytes: SMALL });
      const write = codeOf(() => a.write(Buffer.alloc(100_000)));
      await delay(5);
      a.close();
      expect(await write).to.equal("SHIMMY_ERR_CLOSED");
    });

    it("should reject with SHIMMY_ERR_CLOSED after end()", async function () {
      const [a] = pair();
      a.end();
      expect(await codeOf(() => a.write(Buffer.from("x")))).to.equal("SHIMMY_ERR_CLOSED");
    });
  });

  describe("Stream#read()", function () {
    it("should answer calls in their order", async function () {
      const [a, b] = pair();
      const reads = [b.read(1), b.read(1), b.read(1)];
      await a.write(Buffer.from("abc"));
      const texts = (await Promise.all(reads)).map((chunk) => chunk?.toString());
      expect(texts).to.deep.equal(["a", "b", "c"]);
    });

    it("should reject with SHIMMY_ERR_CLOSED when the stream is closed while it waits", async function () {
      const [a] = pair();
      const read = codeOf(() => a.read());
      await delay(5);
      a.close();
      expect(await read).to.equal("SHIMMY_ERR_CLOSED");
    });

    it("should go on after the other direction ended", async function () {
      const [a, b] = pair();
      a.end();
      expect(await b.read()).to.equal(undefined);
      await b.write(Buffer.from("still open"));
      expect((await a.read())?.toString()).to.equal("still open");
    });

    it("should get everything written before an orderly close", async function () {
      const [a, b] = pair();
      // Bells and bytes that a never reads must not turn its close into a reset.
      await b.write(Buffer.from("unread"));
      await a.write(Buffer.from("goodbye"));
      a.close();
      expect((await readAll(b)).toString()).to.equal("goodbye");
    });
  });

  describe("Stream#detach() and Stream.attach()", function () {
    function move(stream: Stream): Stream {
      const { fds, state } = stream.detach();
      const moved = Stream.attach(fds, state);
      open.push(moved);
      return moved;
    }

    it("should move an unused end", async function () {
      const [a, b] = pair();
      const moved = move(b);
      await a.write(Buffer.from("to the new owner"));
      expect((await moved.read())?.toString()).to.equal("to the new owner");
      await moved.write(Buffer.from("answer"));
      expect((await a.read())?.toString()).to.equal("answer");
      expect(a.counts().replacesTaken).to.equal(1);
    });

    it("should move an end with unread bytes in both directions, again and again", async function () {
      const [a, b] = pair({ capacityBytes: SMALL });
      const sentByA = randomBytes(40_000);
      const sentByB = randomBytes(40_000);
      const received: Buffer[] = [];
      let end = b;
      for (let i = 0; i < 40; i++) {
        a.writeSync(sentByA.subarray(i * 1000, (i + 1) * 1000));
        end.writeSync(sentByB.subarray(i * 1000, (i + 1) * 1000));
        if (i % 3 === 0) end = move(end);
        const fromA = await end.read(2000);
        if (fromA !== undefined) received.push(fromA);
        const fromB = await a.read(2000);
        expect(fromB?.equals(sentByB.subarray(i * 1000, (i + 1) * 1000))).to.equal(true);
      }
      expect(Buffer.concat(received).equals(sentByA)).to.equal(true);
    });

    it("should move the end that a full writer waits for", async function () {
      const [a, b] = pair({ capacityBytes: SMALL });
      const sent = randomBytes(50_000);
      const write = a.write(sent).then(() => {
        a.end();
      });
      await delay(5);
      const moved = move(b);
      expect((await readAll(moved)).equals(sent)).to.equal(true);
      await write;
    });

    it("should move a writer whose ring is full", async function () {
      const [a, b] = pair({ capacityBytes: SMALL });
      const sent = randomBytes(50_000);
      const written = a.writeSync(sent);
      expect(written).to.equal(SMALL);
      const moved = move(a);
      const received = readAll(b);
      await moved.write(sent.subarray(written));
      moved.end();
      expect((await received).equals(sent)).to.equal(true);
    });

    it("should throw SHIMMY_ERR_NOT_MOVABLE after end(), and leave the stream as it is", async function () {
      const [a, b] = pair();
      a.end();
      expect(await codeOf(() => a.detach())).to.equal("SHIMMY_ERR_NOT_MOVABLE");
      const read = a.read();
      await b.write(Buffer.from("x"));
      expect((await read)?.toString()).to.equal("x");
    });

    it("should throw SHIMMY_ERR_NOT_MOVABLE for both ends in turn", async function () {
      const [a, b] = pair();
      const moved = move(b);
      await moved.write(Buffer.from("x"));
      await a.read();
      expect(await codeOf(() => a.detach())).to.equal("SHIMMY_ERR_NOT_MOVABLE");
    });

    for (const [what, change] of [
      ["of another length", (state: Buffer) => state.subarray(1)],
      ["with another magic", (state: Buffer) => state.fill(0, 0, 1)],
      ["of another version", (state: Buffer) => state.fill(9, 4, 5)],
      ["with a capacity that is no power of two", (state: Buffer) => state.fill(3, 8, 9)],
      ["with another half's number", (state: Buffer) => state.fill(7, 68, 69)],
      ["with a flag that is neither", (state: Buffer) => state.fill(2, 72, 73)],
    ] as const) {
      it(`should refuse a state ${what}`, async function () {
        const [, b] = pair();
        const { fds, state } = b.detach();
        expect(state).to.have.lengthOf(HANDOVER_BYTES);
        expect(await codeOf(() => Stream.attach(fds, change(state)))).to.equal(
          "SHIMMY_ERR_STREAM_BROKEN",
        );
      });
    }

    it("should survive a state with any byte changed", async function () {
      for (let offset = 0; offset < HANDOVER_BYTES; offset++) {
        const [a, b] = streamPair({ capacityBytes: SMALL });
        a.writeSync(Buffer.from("to b"));
        b.writeSync(Buffer.from("to a"));
        const { fds, state } = b.detach();
        state.writeUInt8(state.readUInt8(offset) ^ 0xff, offset);
        const codes = await codesOfUse(a, () => Stream.attach(fds, state));
        const expected = ["SHIMMY_ERR_STREAM_BROKEN", "SHIMMY_ERR_STREAM_RESET"];
        expect([...expected, "SHIMMY_ERR_PEER_DIED"]).to.include.members(codes);
        a.close();
      }
    });

    it("should refuse descriptors that are not a stream's", async function () {
      const [, b] = pair();
      const { fds, state } = b.detach();
      const other = new OwnedFd(openSync("/dev/zero", "r"));
      expect(await codeOf(() => Stream.attach([fds[0], other], state))).to.equal(
        "SHIMMY_ERR_STREAM_BROKEN",
      );
      fds[1].close();
    });

    it("should tell the peer SHIMMY_ERR_PEER_DIED when nobody attaches", async function () {
      const [a, b] = pair();
      const { fds } = b.detach();
      for (const fd of fds) fd.close();
      expect(await codeOf(() => a.read())).to.equal("SHIMMY_ERR_PEER_DIED");
    });
  });

  describe("between processes", function () {
    /** Starts the stream-peer fixture and hands an end over to it. */
    async function startPeer(role: string, end: Stream): Promise<ChildProcess> {
      const path = `\0shimmy-stream-${process.pid}-${performance.now()}`;
      const { promise, resolve } = Promise.withResolvers<undefined>();
      using server = ControlServer.listen({
        path,
        onConnection(socket) {
          const { fds, state } = end.detach();
          socket.send(
            state,
            fds.map((fd) => fd.number),
          );
          for (const fd of fds) fd.close();
          socket.onMessage = () => undefined;
          socket.onClose = () => {
            resolve(undefined);
          };
        },
      });
      const printable = path.replace("\0", "@");
      const child = spawn(process.execPath, [join(FIXTURES, "stream-peer.ts"), printable, role], {
        stdio: ["ignore", "inherit", "inherit"],
      });
      await promise;
      expect(server).to.not.equal(undefined);
      return child;
    }

    for (const role of ["echo", "echo synchronously"]) {
      it(`should ${role} a megabyte`, async function () {
        const [a, b] = pair({ capacityBytes: 16_384 });
        const child = await startPeer(role, b);
        const closed = once(child, "close");
        const sent = randomBytes(1_000_000);
        const received = readAll(a);
        await a.write(sent);
        a.end();
        const digest = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
        expect(digest(await received)).to.equal(digest(sent));
        expect((await closed)[0]).to.equal(0);
      });
    }

    it("should throw SHIMMY_ERR_PEER_DIED after the last byte of a process that was killed", async function () {
      const [a, b] = pair();
      const child = await startPeer("write and hang", b);
      const closed = once(child, "close");
      expect((await a.read())?.toString()).to.equal("last words");
      child.kill("SIGKILL");
      expect(await codeOf(() => a.read())).to.equal("SHIMMY_ERR_PEER_DIED");
      await closed;
    });

    for (const [role, code] of [
      // Node runs no clean-up on process.exit(): to the peer it is a death.
      ["write and exit", "SHIMMY_ERR_PEER_DIED"],
      ["write and forget", "SHIMMY_ERR_STREAM_RESET"],
    ] as const) {
      it(`should throw ${code} after the last byte when the peer's role is to ${role}`, async function () {
        const [a, b] = pair();
        const closed = once(await startPeer(role, b), "close");
        expect((await a.read())?.toString()).to.equal("last words");
        expect(await codeOf(() => a.read())).to.equal(code);
        expect((await closed)[0]).to.equal(0);
      });
    }
  });

  describe("lifetime", function () {
    async function runRole(role: string): Promise<string> {
      const child = spawn(
        process.execPath,
        ["--expose-gc", join(FIXTURES, "stream-peer.ts"), "", role],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      let output = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
      expect((await once(child, "close"))[0]).to.equal(0);
      return output;
    }

    it("should let the process end while streams are idle", async function () {
      await runRole("idle stream");
    });

    it("should keep a stream that is waited for, and reset one that is forgotten", async function () {
      expect(await runRole("garbage collection")).to.equal("read 20\nSHIMMY_ERR_STREAM_RESET\n");
    });

    async function startWorker(end: Stream, isBlocking: boolean): Promise<Worker> {
      const { fds, state } = end.detach();
      const numbers = fds.map((fd) => fd.release());
      const workerData = { fds: numbers, state, isBlocking };
      const worker = new Worker(join(FIXTURES, "stream-worker.ts"), { workerData });
      await once(worker, "message");
      return worker;
    }

    it("should work between threads", async function () {
      const [a, b] = pair({ capacityBytes: SMALL });
      const exited = once(await startWorker(b, false), "exit");
      const sent = randomBytes(200_000);
      const received = readAll(a);
      await a.write(sent);
      a.end();
      expect((await received).equals(sent)).to.equal(true);
      expect(await exited).to.deep.equal([0]);
    });

    for (const isBlocking of [false, true]) {
      it(`should reset when a worker is terminated in a ${isBlocking ? "blocking" : "pending"} read`, async function () {
        const [a, b] = pair();
        const worker = await startWorker(b, isBlocking);
        await delay(10);
        await worker.terminate();
        expect(await codeOf(() => a.read())).to.equal("SHIMMY_ERR_STREAM_RESET");
      });
    }
  });
});
