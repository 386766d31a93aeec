import { expect } from "chai";

import { WorkQueue } from "../../../master/work-queue.ts";
import { eventually } from "../../helpers/eventually.ts";
import { FakeClock } from "../agent/fakes.ts";

describe("WorkQueue", function () {
  let clock: FakeClock;
  let begun: string[];
  let gates: Map<string, PromiseWithResolvers<undefined>>;
  let retryAfterMs: number;
  let queue: WorkQueue;

  /** Lets the work on a key end, well or not. */
  async function end(key: string, err?: Error): Promise<void> {
    const gate = gates.get(key);
    gates.delete(key);
    if (err === undefined) gate?.resolve(undefined);
    else gate?.reject(err);
    await new Promise((resolve) => setImmediate(resolve));
  }

  beforeEach(function () {
    clock = new FakeClock();
    begun = [];
    gates = new Map();
    retryAfterMs = 0;
    queue = new WorkQueue({
      work: (key) => {
        begun.push(key);
        const gate = Promise.withResolvers<undefined>();
        gates.set(key, gate);
        return gate.promise;
      },
      onFailure: () => retryAfterMs,
      clock,
      concurrency: 2,
      retry: { initialMs: 100, maxMs: 1000 },
    });
  });

  afterEach(async function () {
    for (const key of gates.keys()) await end(key);
    await queue.close();
  });

  it("should work on as many keys at a time as it may, and on each once", async function () {
    for (const key of ["a", "b", "c", "c"]) queue.add(key);
    expect(begun).to.deep.equal(["a", "b"]);
    expect(queue.length).to.equal(1);
    await end("a");
    expect(begun).to.deep.equal(["a", "b", "c"]);
    expect(queue.length).to.equal(0);
  });

  it("should work once more on a key that is added while it is worked on", async function () {
    queue.add("a");
    queue.add("a");
    queue.add("a");
    expect(begun).to.deep.equal(["a"]);
    await end("a");
    expect(begun).to.deep.equal(["a", "a"]);
    await end("a");
    expect(begun).to.have.length(2);
  });

  it("should wait longer after each failure of a key, and not hold up others", async function () {
    queue.add("a");
    for (const ceilingMs of [100, 200, 400, 800, 1000, 1000]) {
      const before = begun.length;
      await end("a", new Error("no"));
      queue.add("a");
      clock.advance(ceilingMs / 2 - 1);
      expect(begun).to.have.length(before);
      clock.advance(ceilingMs / 2 + 1);
      expect(begun).to.have.length(before + 1);
    }
    queue.add("b");
    expect(begun.at(-1)).to.equal("b");
  });

  it("should begin with the shortest delay again after a success", async function () {
    queue.add("a");
    for (let i = 0; i < 4; i++) {
      await end("a", new Error("no"));
      clock.advance(1000);
    }
    await end("a");
    queue.add("a");
    const before = begun.length;
    await end("a", new Error("no"));
    clock.advance(100);
    expect(begun).to.have.length(before + 1);
  });

  it("should wait at least as long as it is told to", async function () {
    retryAfterMs = 5000;
    queue.add("a");
    await end("a", new Error("busy"));
    clock.advance(4999);
    expect(begun).to.have.length(1);
    clock.advance(1);
    expect(begun).to.have.length(2);
  });

  it("should finish what it works on when it is closed, and begin nothing", async function () {
    for (const key of ["a", "b", "c"]) queue.add(key);
    await end("b", new Error("no"));
    let isClosed = false;
    void queue.close().then(() => (isClosed = true));
    queue.add("d");
    await end("a");
    await end("c");
    await eventually("the end", () => isClosed);
    clock.advance(10_000);
    expect(begun).to.deep.equal(["a", "b", "c"]);
    expect(clock.pending).to.equal(0);
  });
});
