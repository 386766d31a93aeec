import { expect } from "chai";

import { Poller } from "../../../../agent/kubernetes/poller.ts";
import { FakeClock, silentLog } from "../fakes.ts";

const TIMES = { refreshMs: 60_000, retryMs: 5000 };

describe("Poller", function () {
  let clock: FakeClock;
  let readings: PromiseWithResolvers<undefined>[];
  let signals: AbortSignal[];
  let poller: Poller;

  beforeEach(function () {
    clock = new FakeClock();
    readings = [];
    signals = [];
    poller = new Poller({
      what: "the weather",
      read: async (signal) => {
        const reading = Promise.withResolvers<undefined>();
        readings.push(reading);
        signals.push(signal);
        await reading.promise;
      },
      times: TIMES,
      clock,
      log: silentLog(),
    });
    poller.start();
  });

  afterEach(async function () {
    const closed = poller.close();
    readings.at(-1)?.resolve(undefined);
    await closed;
    expect(clock.pending).to.equal(0);
  });

  /** Ends the reading that is going on, and lets what follows from it happen. */
  async function end(error?: Error): Promise<void> {
    const reading = readings.at(-1);
    if (error === undefined) reading?.resolve(undefined);
    else reading?.reject(error);
    await new Promise((resolve) => setImmediate(resolve));
  }

  it("should read at once, and again when it is time", async function () {
    expect(readings).to.have.length(1);
    clock.advance(TIMES.refreshMs);
    expect(readings, "one at a time").to.have.length(1);
    await end();
    clock.advance(TIMES.refreshMs - 1);
    expect(readings).to.have.length(1);
    clock.advance(1);
    expect(readings).to.have.length(2);
  });

  it("should read sooner after a failure", async function () {
    await end(new Error("no answer"));
    clock.advance(TIMES.retryMs);
    expect(readings).to.have.length(2);
  });

  it("should give up what it reads when it is closed, and read no more", async function () {
    const closed = poller.close();
    expect(signals[0]?.aborted).to.equal(true);
    await end(new Error("aborted"));
    await closed;
    clock.advance(TIMES.refreshMs);
    expect(readings).to.have.length(1);
  });
});
