import { expect } from "chai";

import { Backoff } from "../../../common/backoff.ts";

describe("Backoff#next()", function () {
  it("should double up to the limit when the draw is the highest", function () {
    const backoff = new Backoff({ initialMs: 100, maxMs: 1000, random: () => 1 });
    expect([1, 2, 3, 4, 5, 6].map(() => backoff.next())).to.deep.equal([
      100, 200, 400, 800, 1000, 1000,
    ]);
  });

  it("should draw from the upper half of the range", function () {
    const lowest = new Backoff({ initialMs: 100, maxMs: 1000, random: () => 0 });
    expect([lowest.next(), lowest.next()]).to.deep.equal([50, 100]);
    const real = new Backoff({ initialMs: 100, maxMs: 100 });
    for (let i = 0; i < 100; i++) expect(real.next()).to.be.within(50, 100);
  });

  it("should stay finite after very many attempts", function () {
    const backoff = new Backoff({ initialMs: 1, maxMs: 5000, random: () => 1 });
    for (let i = 0; i < 2000; i++) backoff.next();
    expect(backoff.next()).to.equal(5000);
  });
});

describe("Backoff#reset()", function () {
  it("should start again at the first delay", function () {
    const backoff = new Backoff({ initialMs: 100, maxMs: 1000, random: () => 1 });
    backoff.next();
    backoff.next();
    expect(backoff.attempt).to.equal(2);
    backoff.reset();
    expect(backoff.next()).to.equal(100);
  });
});
