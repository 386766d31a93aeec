import { expect } from "chai";
import { sumMetric } from "../../../../bench/lib/shimmy.ts";

describe("sumMetric()", function () {
  const text = `# TYPE shimmy_connections_total counter
shimmy_connections_total{direction="outbound",transport="shm"} 40
shimmy_connections_total{direction="inbound",transport="shm"} 2
shimmy_connections_total{direction="outbound",transport="tcp"} 1
shimmy_connections_total_other 99
shimmy_plain 7.5
`;

  for (const { metric, labels, expected } of [
    { metric: "shimmy_connections_total", labels: {}, expected: 43 },
    { metric: "shimmy_connections_total", labels: { transport: "shm" }, expected: 42 },
    {
      metric: "shimmy_connections_total",
      labels: { transport: "shm", direction: "outbound" },
      expected: 40,
    },
    { metric: "shimmy_plain", labels: {}, expected: 7.5 },
    { metric: "shimmy_absent", labels: {}, expected: 0 },
  ]) {
    it(`should be ${expected} for ${metric} ${JSON.stringify(labels)}`, function () {
      expect(sumMetric(text, metric, labels)).to.equal(expected);
    });
  }
});
