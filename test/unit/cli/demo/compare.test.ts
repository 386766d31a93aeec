import { expect } from "chai";

import { comparisonTable, WORKLOADS, type Comparison } from "../../../../cli/demo/compare.ts";

describe("comparisonTable()", function () {
  const [workload] = WORKLOADS;
  if (workload === undefined) throw new Error("no workload");
  const result = { requestsPerSecond: 12_345.6, p50Micros: 80, requests: 12_345 };
  const comparison: Comparison = {
    workload,
    results: {
      direct: result,
      overTcp: { ...result, p50Micros: 1500 },
      shimmy: { ...result, requestsPerSecond: 999 },
    },
    byShm: 17,
    byTcp: 0,
  };

  it("should show every way, and what carried the connections", function () {
    expect(comparisonTable([comparison])[1]).to.match(
      /^one at a time +12,346 {2}80 µs +12,346 {2}1.50 ms +999 {2}80 µs +17 shm$/,
    );
  });

  it("should name connections that went by TCP", function () {
    expect(comparisonTable([{ ...comparison, byTcp: 2 }])[1]).to.match(/17 shm, 2 TCP$/);
  });
});
