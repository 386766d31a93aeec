import { expect } from "chai";
import { parseOptions } from "../../../../bench/lib/options.ts";

describe("parseOptions()", function () {
  it("should run five rounds of everything by default", function () {
    expect(parseOptions(["sidecar"])).to.deep.equal({
      name: "sidecar",
      options: { isQuick: false, rounds: 5, jsonPath: undefined, only: undefined },
    });
  });

  it("should run three rounds with --quick", function () {
    const { options } = parseOptions(["sidecar", "--quick", "--json", "x.json"]);
    expect(options).to.deep.include({ isQuick: true, rounds: 3, jsonPath: "x.json" });
  });

  for (const argv of [
    ["ring", "--only", "tcp,ring"],
    ["ring", "--only", "tcp", "ring"],
    ["ring", "--only", "tcp", "--only", "ring"],
  ]) {
    it(`should read the peers of "${argv.join(" ")}"`, function () {
      expect(parseOptions(argv).options.only).to.deep.equal(["tcp", "ring"]);
    });
  }

  for (const { argv, message } of [
    { argv: [], message: "usage" },
    { argv: ["ring", "extra"], message: "unknown extra" },
    { argv: ["ring", "--rounds", "4"], message: "at least 5, got 4" },
    { argv: ["ring", "--rounds", "many"], message: "got many" },
    { argv: ["ring", "--quick", "--rounds", "0"], message: "at least 1, got 0" },
    { argv: ["ring", "--fast"], message: "--fast" },
  ]) {
    it(`should refuse "${argv.join(" ")}"`, function () {
      expect(() => parseOptions(argv)).to.throw(message);
    });
  }
});
