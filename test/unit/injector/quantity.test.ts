import { expect } from "chai";
import fc from "fast-check";

import { formatBytes, parseQuantity, quantityBytes } from "../../../injector/quantity.ts";

describe("parseQuantity()", function () {
  for (const [left, right] of [
    ["1", "1000m"],
    ["0.5", "500m"],
    ["5.", "5.0"],
    [".5", "+0.5"],
    ["0.1234567891", "0.12345678911"], // both rounded up to billionths
    ["1Ki", "1024"],
    ["1.5Mi", "1536Ki"],
    ["1k", "1000"],
    ["2e3", "2k"],
    ["1E", "1e18"],
    ["1E3", "1000"],
    ["100n", "0.0000001"],
    ["1u", "1000n"],
  ] as const) {
    it(`should read ${left} and ${right} as the same`, function () {
      expect(parseQuantity(left)).to.equal(parseQuantity(right));
    });
  }

  it("should round finer parts than billionths up", function () {
    expect(parseQuantity("0.1n")).to.equal(1n);
  });

  for (const text of [
    "",
    ".",
    "+",
    "x",
    "1x",
    "-1",
    "1,5",
    "1Kb",
    " 1",
    "1 ",
    "Mi",
    "1e",
    "0x10",
    "1e999",
  ]) {
    it(`should refuse ${JSON.stringify(text)}`, function () {
      expect(() => parseQuantity(text)).to.throw("expected a quantity such as 100m or 64Mi");
    });
  }
});

describe("formatBytes()", function () {
  it("should write what is read back", function () {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (bytes) => {
        expect(quantityBytes(formatBytes(bytes))).to.equal(bytes);
      }),
    );
    expect([formatBytes(96 * 1024 ** 2), formatBytes(2 ** 31), formatBytes(1000)]).to.deep.equal([
      "96Mi",
      "2Gi",
      "1000",
    ]);
  });
});
