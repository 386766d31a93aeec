import { expect } from "chai";
import {
  closingLine,
  NO_COUNTS,
  parseGtestXml,
  parseLines,
  sumCounts,
} from "../../../../scripts/test/counts.ts";

// Shortened from what GoogleTest 1.12 writes.
const GTEST_XML = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="4" failures="1" disabled="1" errors="0" time="0." name="AllTests">
  <testsuite name="Ring" tests="4" failures="1" disabled="1" skipped="1" errors="0">
    <testcase name="Pops" status="run" result="completed" time="0." classname="Ring" />
    <testcase name="Pushes" status="run" result="completed" time="0." classname="Ring">
      <failure message="ring_test.cc:5&#x0A;Expected equality" type=""><![CDATA[no]]></failure>
    </testcase>
    <testcase name="DISABLED_Waits" status="notrun" result="suppressed" classname="Ring" />
    <testcase name="Maps" status="run" result="skipped" time="0." classname="Ring">
      <skipped message="ring_test.cc:9&#x0A;needs huge pages"><![CDATA[x]]></skipped>
    </testcase>
  </testsuite>
</testsuites>`;

describe("parseGtestXml()", function () {
  it("should count each test once and keep the reasons of skipped ones", function () {
    expect(parseGtestXml(GTEST_XML)).to.deep.equal({
      passed: 1,
      failed: 1,
      skipped: ["Ring.DISABLED_Waits: disabled", "Ring.Maps: needs huge pages"],
    });
  });
});

describe("parseLines()", function () {
  it("should count lines by their first word", function () {
    expect(parseLines("ok a\nFAIL b\nskip c: no VM\nokay\n  ok d\n")).to.deep.equal({
      passed: 1,
      failed: 1,
      skipped: ["c: no VM"],
    });
  });
});

describe("closingLine()", function () {
  it("should name skipped tests only if there are any", function () {
    expect(closingLine({ passed: 3, failed: 0, skipped: [] })).to.equal("3 passed, 0 failed");
    expect(closingLine({ passed: 3, failed: 1, skipped: ["a: why"] })).to.equal(
      "3 passed, 1 failed, 1 skipped",
    );
  });
});

describe("sumCounts()", function () {
  it("should add up, and be empty for no runner", function () {
    expect(sumCounts([])).to.deep.equal(NO_COUNTS);
    const one = { passed: 1, failed: 2, skipped: ["x"] };
    expect(sumCounts([one, one])).to.deep.equal({ passed: 2, failed: 4, skipped: ["x", "x"] });
  });
});
