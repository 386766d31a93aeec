import { expect } from "chai";

import { parsePrometheus, sumSamples } from "../../../cli/prometheus.ts";

const PAGE = `# HELP shimmy_connections_total Connections.
# TYPE shimmy_connections_total counter
shimmy_connections_total{direction="outbound",transport="shm"} 12
shimmy_connections_total{direction="outbound",transport="tcp"} 3
shimmy_connections_total{direction="inbound",transport="shm"} 4 1700000000
shimmy_sessions 1
odd{text="a \\"b\\", c=\\\\d"} 1.5e3
not a sample
`;

describe("parsePrometheus()", function () {
  it("should read names, labels and values, and pass over the rest", function () {
    const samples = parsePrometheus(PAGE);
    expect(samples).to.have.lengthOf(5);
    expect(samples[0]).to.deep.equal({
      name: "shimmy_connections_total",
      labels: { direction: "outbound", transport: "shm" },
      value: 12,
    });
    expect(samples[3]).to.deep.equal({ name: "shimmy_sessions", labels: {}, value: 1 });
  });

  it("should read quotes and backslashes in labels", function () {
    expect(parsePrometheus(PAGE)[4]).to.deep.include({
      labels: { text: 'a "b", c=\\d' },
      value: 1500,
    });
  });
});

describe("sumSamples()", function () {
  const samples = parsePrometheus(PAGE);

  it("should add up what has the labels", function () {
    expect(sumSamples(samples, "shimmy_connections_total")).to.equal(19);
    expect(sumSamples(samples, "shimmy_connections_total", { transport: "shm" })).to.equal(16);
  });

  it("should give 0 when there is none", function () {
    expect(sumSamples(samples, "shimmy_connections_total", { transport: "rdma" })).to.equal(0);
  });
});
