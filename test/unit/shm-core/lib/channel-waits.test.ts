import { expect } from "chai";

import { ChannelWaits, isAnybodyWaiting } from "../../../../shm-core/lib/channel-waits.ts";

describe("ChannelWaits", function () {
  let waits: ChannelWaits;
  let steps: string[];

  beforeEach(function () {
    // No native endpoint: events are made by the tests.
    waits = new ChannelWaits(0);
    steps = [];
  });

  afterEach(function () {
    waits.cancel();
    expect(isAnybodyWaiting()).to.equal(false);
  });

  /** A call that is done at its `turns`th step. */
  function call(name: string, turns: number, options = {}): Promise<string> {
    let left = turns;
    const step = (): boolean => {
      steps.push(name);
      return --left === 0;
    };
    return waits.perform(step, options).then(
      () => "done",
      (err: unknown) => (err as { code?: string }).code ?? String(err),
    );
  }

  async function settled(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }

  it("should begin at once, and wait for nothing that is done", async function () {
    const done = call("a", 1);
    expect(steps).to.deep.equal(["a"]);
    expect(await done).to.equal("done");
    await settled();
    expect(waits.isBusy).to.equal(false);
  });

  it("should do calls in their order", async function () {
    const calls = [call("a", 2), call("b", 1), call("c", 1)];
    await settled();
    expect(steps).to.deep.equal(["a"]);
    expect(isAnybodyWaiting()).to.equal(true);
    waits.ready();
    expect(await Promise.all(calls)).to.deep.equal(["done", "done", "done"]);
    expect(steps).to.deep.equal(["a", "a", "b", "c"]);
  });

  it("should keep the order when one gives up before its turn", async function () {
    const first = call("a", 2);
    const second = call("b", 1, { timeoutMs: 1 });
    const third = call("c", 1);
    expect(await second).to.equal("SHIMMY_ERR_TIMEOUT");
    await settled();
    expect(steps).to.deep.equal(["a"]);
    waits.ready();
    expect(await Promise.all([first, third])).to.deep.equal(["done", "done"]);
    expect(steps).to.deep.equal(["a", "a", "c"]);
  });

  it("should end a wait by time, by a signal and by close", async function () {
    expect(await call("a", 2, { timeoutMs: 1 })).to.equal("SHIMMY_ERR_TIMEOUT");
    const abort = new AbortController();
    const aborted = call("b", 2, { signal: abort.signal });
    abort.abort("enough");
    expect(await aborted).to.equal("enough");
    expect(await call("c", 1, { signal: abort.signal })).to.equal("enough");
    const closed = call("d", 2);
    waits.cancel();
    expect(await closed).to.equal("SHIMMY_ERR_CLOSED");
    expect(steps).to.deep.equal(["a", "b", "d"]);
  });

  it("should go on after a step that throws", async function () {
    const failed = waits.perform(() => {
      throw new Error("broken");
    }, {});
    expect(await failed.catch(String)).to.equal("Error: broken");
    expect(await call("a", 1)).to.equal("done");
  });

  it("should refuse a time that is none", async function () {
    expect(await call("a", 1, { timeoutMs: NaN })).to.equal("SHIMMY_ERR_INVALID_OPTION");
    expect(steps).to.deep.equal([]);
  });
});
