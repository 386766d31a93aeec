import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { readResults } from "../../../bench/report.ts";
import { fillReadme, renderReadmeBlock } from "../../../bench/report/readme.ts";
import { renderReport } from "../../../bench/report/render.ts";

const ROOT = join(import.meta.dirname, "../../..");

describe("docs/benchmarks.md", function () {
  const report = renderReport(readResults(join(ROOT, "bench/results")));

  for (const [path, content] of report) {
    it(`should be what bench/report.ts makes of the committed results: docs/${path}`, function () {
      expect(readFileSync(join(ROOT, "docs", path), "utf8")).to.equal(content);
    });
  }

  it("should have no chart that no result is shown in", function () {
    const charts = [...report.keys()].filter((path) => path.endsWith(".svg"));
    const found = existingCharts().map((file) => `benchmarks/${file}`);
    expect(found).to.have.members(charts);
  });
});

describe("README.md", function () {
  it("should have the table that bench/report.ts makes of the committed results", function () {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const block = renderReadmeBlock(readResults(join(ROOT, "bench/results")));
    expect(readme).to.equal(fillReadme(readme, block));
  });
});

function existingCharts(): readonly string[] {
  try {
    return readdirSync(join(ROOT, "docs/benchmarks"));
  } catch {
    return []; // no result, no folder
  }
}
