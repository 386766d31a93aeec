import { expect } from "chai";
import { median, pairedRatio, spread } from "../../../../bench/lib/stats.ts";

describe("stats", function () {
  describe("median()", function () {
    for (const { values, expected } of [
      { values: [3], expected: 3 },
      { values: [9, 1, 5], expected: 5 },
      { values: [4, 1, 3, 2], expected: 2.5 },
      { values: [10, 9, 100], expected: 10 },
    ]) {
      it(`should be ${expected} for ${values.join(", ")}`, function () {
        expect(median(values)).to.equal(expected);
      });
    }

    it("should throw when there are no values", function () {
      expect(() => median([])).to.throw(RangeError);
    });
  });

  describe("spread()", function () {
    it("should keep four significant digits", function () {
      expect(spread([123_456, 0.000_123_456, 2])).to.deep.equal({
        value: 2,
        min: 0.000_123_5,
        max: 123_500,
      });
    });
  });

  describe("pairedRatio()", function () {
    it("should take the median of the ratios, not the ratio of the medians", function () {
      // Round by round 2, 2 and 10; the medians alone would say 4.
      expect(pairedRatio([20, 40, 10], [10, 20, 1])).to.deep.equal({ value: 2, min: 2, max: 10 });
    });

    it("should throw when a round is missing on one side", function () {
      expect(() => pairedRatio([1, 2], [1])).to.throw("rounds differ");
    });
  });
});
