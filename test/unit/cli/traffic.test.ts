import { expect } from "chai";

import { parsePrometheus } from "../../../cli/prometheus.ts";
import { summaryLines, toTraffic, trafficTable, type PodTraffic } from "../../../cli/traffic.ts";

const IDLE = { outbound: 0, inbound: 0, open: 0, bytesSent: 0, bytesReceived: 0 };

function traffic(changes: Partial<PodTraffic>): PodTraffic {
  return { pod: "client", shm: IDLE, tcp: IDLE, failed: 0, fallbacks: {}, ...changes };
}

describe("toTraffic()", function () {
  it("should pick the counters of both transports and the reasons that occurred", function () {
    const page = `shimmy_connections_total{direction="outbound",transport="shm"} 5
shimmy_connections_total{direction="outbound",transport="tcp"} 2
shimmy_connections_total{direction="inbound",transport="shm"} 1
shimmy_open_connections{transport="shm"} 3
shimmy_bytes_total{direction="sent",transport="shm"} 100
shimmy_bytes_total{direction="received",transport="tcp"} 40
shimmy_refused_connections_total{direction="outbound",cause="no_endpoint"} 7
shimmy_fallbacks_total{reason="quota"} 2
shimmy_fallbacks_total{reason="disabled"} 0
`;
    expect(toTraffic("client", parsePrometheus(page))).to.deep.equal({
      pod: "client",
      shm: { outbound: 5, inbound: 1, open: 3, bytesSent: 100, bytesReceived: 0 },
      tcp: { outbound: 2, inbound: 0, open: 0, bytesSent: 0, bytesReceived: 40 },
      failed: 7,
      fallbacks: { quota: 2 },
    });
  });
});

describe("trafficTable()", function () {
  it("should be empty when nothing travelled", function () {
    expect(trafficTable([traffic({})])).to.deep.equal([]);
  });

  it("should name the reasons beside TCP", function () {
    const used = { ...IDLE, outbound: 3 };
    const lines = trafficTable([traffic({ shm: used, tcp: used, fallbacks: { quota: 3 } })]);
    expect(lines).to.have.lengthOf(3);
    expect(lines[1]).to.match(/^client {2}shared memory +3/);
    expect(lines[2]).to.match(/^client {2}TCP +3.*quota 3$/);
  });
});

describe("summaryLines()", function () {
  const shm = { ...IDLE, outbound: 10 };

  it("should say so when all went by shared memory", function () {
    expect(summaryLines([traffic({ shm })]).at(-1)).to.equal(
      "10 connections, by shared memory every one.",
    );
  });

  it("should count fallbacks by reason over all pods", function () {
    const tcp = { ...IDLE, outbound: 2 };
    const lines = summaryLines([
      traffic({ shm, tcp, fallbacks: { quota: 2 } }),
      traffic({ pod: "other", tcp, fallbacks: { quota: 1, disabled: 1 } }),
    ]);
    expect(lines.at(-1)).to.match(
      /^10 connections by shared memory, 4 by TCP \(disabled 1, quota 3;/,
    );
  });

  it("should say when nothing travelled, and what reached nobody", function () {
    expect(summaryLines([traffic({ failed: 1 })])).to.deep.equal([
      "",
      "No connection went through a sidecar.",
      "1 connection reached nobody.",
    ]);
  });
});
