import { expect } from "chai";
import { rotate, Samples } from "../../../../bench/lib/rounds.ts";

describe("Samples", function () {
  const scenario = { scenario: "http c=1", regime: "idle" } as const;
  const key = (peer: string) => ({ ...scenario, peer });
  let samples: Samples;

  beforeEach(function () {
    samples = new Samples();
    for (const [shimmy, direct] of [
      [10, 5],
      [12, 4],
      [11, 11],
    ] as const) {
      samples.add(key("shimmy"), { perSecond: shimmy });
      samples.add(key("direct"), { perSecond: direct });
    }
  });

  it("should pair the rounds of a ratio", function () {
    const ratio = samples.ratio(scenario, "perSecond", ["shimmy", "direct"]);
    expect(ratio).to.deep.equal({ value: 2, min: 1, max: 3 });
  });

  it("should give no ratio when a peer did not run", function () {
    expect(samples.ratio(scenario, "perSecond", ["shimmy", "haproxy"])).to.equal(undefined);
  });

  it("should give no ratio of a metric that a round lacks", function () {
    samples.add(key("shimmy"), { p50Us: 1 });
    expect(samples.values(key("shimmy"), "perSecond")).to.equal(undefined);
  });

  it("should give no ratio from a series that was refused, and keep its row", function () {
    samples.refuse(key("shimmy"));
    expect(samples.ratio(scenario, "perSecond", ["shimmy", "direct"])).to.equal(undefined);
    expect(samples.rows()).to.have.length(2);
  });

  it("should keep regimes apart", function () {
    samples.add({ ...key("shimmy"), regime: "busy" }, { perSecond: 1 });
    expect(samples.rows()).to.have.length(3);
    expect(samples.values(key("shimmy"), "perSecond")).to.deep.equal([10, 12, 11]);
  });
});

describe("rotate()", function () {
  it("should begin with another item in every round", function () {
    expect([0, 1, 2, 3].map((round) => rotate(["a", "b", "c"], round).join(""))).to.deep.equal([
      "abc",
      "bca",
      "cab",
      "abc",
    ]);
  });

  it("should stay empty when there is nothing", function () {
    expect(rotate([], 2)).to.deep.equal([]);
  });
});
