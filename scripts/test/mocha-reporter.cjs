// The spec reporter, which also writes { passed, failed, skipped } to the file named by
// MOCHA_SUMMARY_FILE. A skipped test's reason is `skipReason` of the test, its hook or a suite
// around it (test/helpers set it).
"use strict";

const { writeFileSync } = require("node:fs");
const process = require("node:process");
const { reporters } = require("mocha");

function skipReason(test) {
  for (let level = test; level !== undefined; level = level.parent) {
    if (level.skipReason !== undefined) return level.skipReason;
  }
  return "no reason given";
}

module.exports = class SummaryReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const summary = { passed: 0, failed: 0, skipped: [] };
    runner.on("pass", () => summary.passed++);
    // A hook that fails counts too.
    runner.on("fail", () => summary.failed++);
    runner.on("pending", (test) =>
      summary.skipped.push(`${test.fullTitle()}: ${skipReason(test)}`),
    );
    runner.once("end", () => {
      writeFileSync(process.env.MOCHA_SUMMARY_FILE, JSON.stringify(summary));
    });
  }
};
