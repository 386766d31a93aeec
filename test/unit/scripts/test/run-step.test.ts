import { expect } from "chai";
import { runStep, type Step } from "../../../../scripts/test/run-step.ts";

const shell = (count: Step["count"], script: string): Step => ({
  name: `unit test of run-step ${count} ${process.pid}`,
  command: ["bash", "-c", script],
  count,
});

let printed = "";
const print = (text: string): void => {
  printed += text;
};
const GENEROUS = { timeoutMs: 10_000, print };

describe("runStep()", function () {
  beforeEach(function () {
    printed = "";
  });

  const table: [string, Step, number, number][] = [
    ["count a check that succeeds", shell("check", "true"), 1, 0],
    ["count a check that fails", shell("check", "false"), 0, 1],
    ["not count a preparation that succeeds", shell("prepare", "true"), 0, 0],
    ["count a preparation that fails", shell("prepare", "exit 3"), 0, 1],
    ["count lines", shell("lines", "echo ok a; echo ok b; echo FAIL c; exit 1"), 2, 1],
    ["count a crash after good lines as failed", shell("lines", "echo ok a; kill -SEGV $$"), 1, 1],
    ["count a runner without a report as failed", shell("mocha", "true"), 0, 1],
    [
      "not trust a report that says all passed when the exit code is bad",
      shell("mocha", `echo '{"passed":2,"failed":0,"skipped":[]}' >"$MOCHA_SUMMARY_FILE"; exit 1`),
      2,
      1,
    ],
    [
      "count a program that is not there as failed",
      { name: "absent", command: ["/nonexistent/program"], count: "check" },
      0,
      1,
    ],
  ];
  for (const [what, step, passed, failed] of table) {
    it(`should ${what}`, async function () {
      expect(await runStep(step, GENEROUS)).to.deep.equal({ passed, failed, skipped: [] });
    });
  }

  it("should stop a step that hangs, and count it as failed", async function () {
    const counts = await runStep(shell("lines", "echo ok a; sleep 60"), { timeoutMs: 200, print });
    expect(counts).to.deep.equal({ passed: 0, failed: 1, skipped: [] });
    expect(printed).to.include("stopped after 0.2 s");
  });
});
