import { expect } from "chai";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { ShimmyError } from "../../../../common/errors.ts";
import { Stream, streamPair } from "../../../../shm-core/lib/stream.ts";

const WAITS = 5000;
const IDLE_MS = 300;
const MOST_IDLE_MICROS = 60_000;
const WAITING_WORKER = join(import.meta.dirname, "..", "fixtures", "waiting-worker.ts");

async function codeOf(act: () => unknown): Promise<string | undefined> {
  try {
    await act();
  } catch (err) {
    return (err as ShimmyError).code;
  }
  return undefined;
}

/** CPU time that this process takes while the event loop has nothing else to do, in microseconds. */
async function cpuMicrosWhileIdle(): Promise<number> {
  const before = process.cpuUsage();
  await delay(IDLE_MS);
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** One turn of the event loop, after which it watches what is waited for. */
function loopTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function countThreads(): number {
  return readdirSync("/proc/self/task").length;
}

describe("waiting for streams", function () {
  const open: Stream[] = [];

  function pair(mode: "adaptive" | "sleep" = "sleep"): [Stream, Stream] {
    const ends = streamPair({ capacityBytes: 4096, mode });
    open.push(...ends);
    return ends;
  }

  afterEach(function () {
    for (const stream of open.splice(0)) stream.close();
  });

  it("should wait in both directions at once", async function () {
    const [a, b] = pair();
    const data = Buffer.alloc(3 * 4096, 1);
    const written = a.write(data); // more than the ring holds
    const answered = a.read();
    await loopTurn();
    let got = 0;
    while (got < data.length) got += (await b.read())?.length ?? 0;
    await written;
    b.writeSync(Buffer.from("answer"));
    expect((await answered)?.toString()).to.equal("answer");
  });

  it("should start no thread, and leave nothing behind after thousands of waits", async function () {
    this.timeout(20_000);
    const threads = countThreads();
    const fds = readdirSync("/proc/self/fd").length;
    const [a, b] = pair();
    const echo = (async () => {
      for await (const chunk of b) await b.write(chunk);
    })();
    for (let i = 0; i < WAITS; i++) {
      await a.write(Buffer.from("x"));
      expect(await a.read()).to.have.length(1);
    }
    expect(countThreads()).to.equal(threads);
    a.close();
    await echo;
    b.close();
    expect(readdirSync("/proc/self/fd").length).to.equal(fds);
  });

  it("should wait for many streams at once", async function () {
    const pairs = Array.from({ length: 200 }, () => pair("adaptive"));
    const reads = pairs.map(([a]) => a.read());
    await loopTurn();
    for (const [index, [, b]] of [...pairs.entries()].reverse()) b.writeSync(Buffer.from([index]));
    const chunks = await Promise.all(reads);
    expect(chunks.map((chunk) => chunk?.[0])).to.deep.equal(pairs.map((_, index) => index % 256));
  });

  it("should take no CPU time while it waits", async function () {
    const [a] = pair();
    const read = codeOf(() => a.read());
    await loopTurn();
    expect(await cpuMicrosWhileIdle()).to.be.below(MOST_IDLE_MICROS);
    a.close();
    expect(await read).to.equal("SHIMMY_ERR_CLOSED");
  });

  it("should take no CPU time for bells that nobody waits for", async function () {
    const [a, b] = pair();
    const read = a.read();
    await loopTurn();
    b.writeSync(Buffer.from("one"));
    expect((await read)?.toString()).to.equal("one");
    b.writeSync(Buffer.from("two")); // a bell, as the last read announced that it waits
    expect(await cpuMicrosWhileIdle()).to.be.below(MOST_IDLE_MICROS);
    expect((await a.read())?.toString()).to.equal("two");
  });

  it("should find the end that comes while it waits", async function () {
    const [a, b] = pair();
    const read = a.read();
    await loopTurn();
    b.end();
    expect(await read).to.equal(undefined);
    expect(await cpuMicrosWhileIdle()).to.be.below(MOST_IDLE_MICROS);
  });

  it("should find a reset with something unread while it waits", async function () {
    const [a, b] = pair();
    const full = a.write(Buffer.alloc(2 * 4096)); // leaves records in the peer's queue
    const read = codeOf(() => a.read());
    await loopTurn();
    b.reset();
    expect(await read).to.equal("SHIMMY_ERR_STREAM_RESET");
    expect(await codeOf(() => full)).to.equal("SHIMMY_ERR_STREAM_RESET");
    expect(await cpuMicrosWhileIdle()).to.be.below(MOST_IDLE_MICROS);
  });

  it("should go on after a close in the middle of an event", async function () {
    const [a, b] = pair();
    const read = a.read().then(() => {
      a.close();
    });
    await loopTurn();
    b.writeSync(Buffer.from("x"));
    await read;
    expect(await b.read()).to.equal(undefined);
  });

  it("should wait again after a hand-over that was refused", async function () {
    const [a, b] = pair();
    const read = a.read();
    await loopTurn();
    a.end();
    expect(await codeOf(() => a.detach())).to.equal("SHIMMY_ERR_NOT_MOVABLE");
    b.writeSync(Buffer.from("x"));
    expect((await read)?.toString()).to.equal("x");
    const again = a.read();
    await loopTurn();
    b.writeSync(Buffer.from("y"));
    expect((await again)?.toString()).to.equal("y");
  });

  for (const moment of ["waiting", "told"] as const) {
    it(`should let a worker be terminated while its streams are ${moment}`, async function () {
      this.timeout(20_000);
      for (let round = 0; round < 5; round++) {
        const worker = new Worker(WAITING_WORKER, { workerData: moment });
        await new Promise((resolve) => worker.once("message", resolve));
        await delay(round);
        expect(await worker.terminate()).to.equal(1);
      }
    });
  }
});
