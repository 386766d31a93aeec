import { expect } from "chai";

import { TokenBucket } from "../../../agent/quotas.ts";
import { FakeClock } from "./fakes.ts";

describe("TokenBucket#take()", function () {
  it("should let a burst through, then the rate", function () {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ perSecond: 10, burst: 3 }, clock);
    const takeAll = (): number => {
      let taken = 0;
      while (bucket.take()) taken++;
      return taken;
    };
    expect(takeAll()).to.equal(3);
    clock.advance(100);
    expect(takeAll()).to.equal(1);
    clock.advance(60_000);
    expect(takeAll()).to.equal(3);
  });

  it("should not lose parts of a token when it is asked often", function () {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ perSecond: 10, burst: 1 }, clock);
    bucket.take();
    let taken = 0;
    for (let i = 0; i < 1000; i++) {
      clock.advance(1);
      if (bucket.take()) taken++;
    }
    expect(taken).to.be.within(9, 10);
  });
});
