import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { parseMochaSummary } from "../../../../scripts/test/counts.ts";

const FIXTURE = "test/unit/scripts/test/fixtures/mixed-results.ts";

describe("mocha-reporter.cjs", function () {
  let folder: string;

  beforeEach(function () {
    folder = mkdtempSync(join(tmpdir(), "shimmy-reporter-"));
  });

  afterEach(function () {
    rmSync(folder, { recursive: true });
  });

  it("should write every result, and the reasons of skipped tests", function () {
    const summary = join(folder, "summary");
    const args = [
      "node_modules/mocha/bin/mocha.js",
      "--reporter",
      "scripts/test/mocha-reporter.cjs",
    ];
    const { status } = spawnSync(process.execPath, [...args, FIXTURE], {
      env: { ...process.env, MOCHA_SUMMARY_FILE: summary },
    });
    expect(status).to.equal(1);
    expect(parseMochaSummary(readFileSync(summary, "utf8"))).to.deep.equal({
      passed: 1,
      failed: 1,
      skipped: [
        "outer should be skipped: no hardware",
        "outer should wait to be written: no reason given",
        "outer inner should be skipped with its suite: no kernel",
      ],
    });
  });
});
