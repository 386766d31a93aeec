import { expect } from "chai";
import { judge, type BenchResult, type Target } from "../../../../bench/lib/result.ts";
import { makeResult } from "../../../fixtures/bench-result.ts";

describe("judge()", function () {
  const result: BenchResult = makeResult({
    ratios: {
      rate_speedup: { value: 1.5, min: 1, max: 2 },
      cpu_cost: { value: 0.7, min: 0, max: 1 },
    },
    figures: {
      rss_mib: { value: 91, min: 90, max: 92 },
      requests_per_second: { value: 1500, min: 1400, max: 1600 },
    },
  });

  for (const { key, bound, verdict } of [
    { key: "rate_speedup", bound: 1.5, verdict: "pass" },
    { key: "rate_speedup", bound: 1.6, verdict: "FAIL" },
    { key: "requests_per_second", bound: 1000, verdict: "pass" },
    { key: "requests_per_second", bound: 2000, verdict: "FAIL" },
    { key: "cpu_cost", bound: 0.7, verdict: "pass" },
    { key: "cpu_cost", bound: 0.6, verdict: "FAIL" },
    { key: "rss_mib", bound: 90, verdict: "FAIL" },
    { key: "rss_mib", bound: "reported", verdict: "reported" },
    { key: "absent_cost", bound: 1, verdict: "not measured" },
  ] as const satisfies readonly (Omit<Target, "title"> & { verdict: string })[]) {
    it(`should say ${verdict} of ${key} with the bound ${bound}`, function () {
      expect(judge({ key, title: "", bound }, result)).to.equal(verdict);
    });
  }
});
