import { expect } from "chai";
import { fillReadme, renderReadmeBlock } from "../../../../bench/report/readme.ts";
import { makeResult } from "../../../fixtures/bench-result.ts";

const spread = (value: number): { value: number; min: number; max: number } => ({
  value,
  min: value - 1,
  max: value + 1,
});

describe("renderReadmeBlock()", function () {
  const result = makeResult({
    ratios: {
      a_speedup: spread(2),
      b_speedup: spread(1.2),
      rps_vs_direct_speedup: spread(0.5),
      c_cost: spread(3),
    },
    figures: { idle_mib: spread(40) },
    targets: [
      { key: "a_speedup", title: "this against that", bound: 1.6 },
      { key: "b_speedup", title: "the other", bound: 2.5 },
      { key: "rps_vs_direct_speedup", title: "against direct TCP", bound: "reported" },
      { key: "c_cost", title: "a detail", bound: "reported" },
      { key: "idle_mib", title: "memory, MiB", bound: 64 },
      { key: "d_cost", title: "left out", bound: 1 },
    ],
  });
  const block = renderReadmeBlock([result]);

  it("should say so, and give no number, when no result is committed", function () {
    expect(renderReadmeBlock([])).to.include("No full run has been committed yet");
    expect(renderReadmeBlock([])).not.to.match(/\d/);
  });

  it("should refuse results of a quick run", function () {
    expect(() => renderReadmeBlock([makeResult({ quick: true })])).to.throw("not published");
  });

  for (const row of [
    "| this against that | 2× | ≥ 1.6 | met |",
    "| the other | 1.2× | ≥ 2.5 | **missed** |",
    "| against direct TCP | 0.5× | reported |  |",
    "| memory, MiB | 40 | ≤ 64 | met |",
    "| left out |  | ≤ 1 | not measured |",
  ]) {
    it(`should have the row ${row}`, function () {
      expect(block.split("\n")).to.include(row);
    });
  }

  it("should begin with what the reader came for", function () {
    const names = ["agent", "ring", "sidecar"];
    const text = renderReadmeBlock(names.map((bench) => makeResult({ bench })));
    const order = [...text.matchAll(/^Bench `(\w+)`/gm)].map(([, bench]) => bench);
    expect(order).to.deep.equal(["sidecar", "ring", "agent"]);
  });

  it("should leave keys without a bound to docs/benchmarks.md", function () {
    expect(block).not.to.include("a detail");
  });

  it("should name commit and machine", function () {
    expect(block).to.include("commit `0123456789ab`: a processor, 2 virtual cores");
  });
});

describe("fillReadme()", function () {
  const readme = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n";

  it("should replace what is between the markers and nothing else", function () {
    expect(fillReadme(readme, "new\n")).to.equal(
      "before\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nafter\n",
    );
  });

  for (const broken of ["no markers", "<!-- bench:end --> <!-- bench:begin -->", readme + readme]) {
    it(`should refuse ${JSON.stringify(broken.slice(0, 24))}`, function () {
      expect(() => fillReadme(broken, "new\n")).to.throw("once each");
    });
  }
});
