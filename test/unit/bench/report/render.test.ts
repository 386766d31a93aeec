import { expect } from "chai";
import type { Row } from "../../../../bench/lib/result.ts";
import { PAGE, renderReport } from "../../../../bench/report/render.ts";
import { makeResult } from "../../../fixtures/bench-result.ts";

describe("renderReport()", function () {
  const row = (peer: string, value: number): Row => ({
    scenario: "http 43 B c=32",
    regime: "idle",
    peer,
    metrics: { perSecond: { value, min: value - 1, max: value + 1 } },
  });
  const result = makeResult({
    rows: [row("direct", 9000), row("haproxy", 100), row("shimmy", 5000)],
    ratios: { x_speedup: { value: 1.2, min: 1, max: 1.4 } },
    targets: [{ key: "x_speedup", title: "this against that", bound: 1.6 }],
  });

  it("should say so when no result is committed", function () {
    expect(renderReport([]).get(PAGE)).to.include("No full run has been committed yet");
  });

  it("should refuse results of a quick run", function () {
    expect(() => renderReport([makeResult({ quick: true })])).to.throw("not published");
  });

  it("should list missed targets and lost scenarios", function () {
    const page = renderReport([result]).get(PAGE);
    expect(page).to.include("- `x_speedup`: this against that.");
    expect(page).to.include("- http 43 B c=32, idle: Shimmy 5000 per second, direct TCP 9000.");
  });

  it("should show every row", function () {
    const page = renderReport([result]).get(PAGE);
    expect(page).to.include("| HAProxy TCP pair | 100 (99 to 101) |");
  });

  it("should draw a chart that the page shows", function () {
    const report = renderReport([result]);
    const chart = report.get("benchmarks/sidecar-throughput.svg");
    expect(chart).to.match(/^<svg .*<\/svg>\n$/s);
    expect(chart).to.include(">direct TCP<");
    expect(report.get(PAGE)).to.include("(benchmarks/sidecar-throughput.svg)");
  });
});
