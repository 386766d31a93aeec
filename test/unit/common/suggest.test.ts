import { expect } from "chai";

import { didYouMean, suggest } from "../../../common/suggest.ts";

describe("suggest()", function () {
  const known = ["SHIMMY_UPSTREAMS", "SHIMMY_SPIN_MICROS", "SHIMMY_MAX_RING"];
  const table: [word: string, expected: string | undefined][] = [
    ["SHIMMY_UPSTREMS", "SHIMMY_UPSTREAMS"],
    ["shimmy_upstreams", "SHIMMY_UPSTREAMS"],
    ["SHIMMY_SPIN_MICRO", "SHIMMY_SPIN_MICROS"],
    ["SHIMMY_TELEPORTATION_DEVICE", undefined],
    ["", undefined],
  ];
  for (const [word, expected] of table) {
    it(`should answer ${expected ?? "nothing"} for "${word}"`, function () {
      expect(suggest(word, known)).to.equal(expected);
    });
  }

  it("should be quick for very long words", function () {
    expect(suggest("x".repeat(100_000), ["y".repeat(100_000)])).to.be.a("string");
  });
});

describe("didYouMean()", function () {
  it("should be empty when nothing is near", function () {
    expect(didYouMean("abc", ["something-else"])).to.equal("");
    expect(didYouMean("prots", ["ports"])).to.equal('; did you mean "ports"?');
  });
});
