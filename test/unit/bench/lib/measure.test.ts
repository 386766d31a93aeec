import { expect } from "chai";
import { whyNotCarried } from "../../../../bench/lib/measure.ts";

describe("whyNotCarried()", function () {
  const before = { carried: 100, fellBack: 3 };

  it("should find nothing when every connection was carried", function () {
    expect(whyNotCarried(before, { carried: 132, fellBack: 3 }, 32)).to.equal(undefined);
  });

  it("should refuse when a connection fell back to TCP", function () {
    const why = whyNotCarried(before, { carried: 132, fellBack: 4 }, 32);
    expect(why).to.equal("1 connections fell back to TCP");
  });

  it("should refuse when counters show fewer connections than the load opened", function () {
    const why = whyNotCarried(before, { carried: 131, fellBack: 3 }, 32);
    expect(why).to.equal("31 of 32 connections were carried");
  });
});
