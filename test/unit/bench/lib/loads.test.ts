import { expect } from "chai";
import { parseRedisBenchmark, parseWrk } from "../../../../bench/lib/loads.ts";

const WRK = `Running 2s test @ http://127.0.0.1:8080/43b
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   231.15us   84.60us   3.10ms   91.11%
    Req/Sec   133.10k     6.02k  140.66k    85.00%
  264936 requests in 2.00s, 77.83MB read
Requests/sec: 132339.91
Transfer/sec:     38.88MB
`;

describe("parseWrk()", function () {
  it("should read requests, rate and bytes", function () {
    expect(parseWrk(WRK)).to.deep.equal({
      perSecond: 132_339.91,
      requests: 264_936,
      bytesPerSecond: (77.83 * 2 ** 20) / 2,
    });
  });

  for (const errors of [
    "Socket errors: connect 0, read 3, write 0, timeout 0",
    "Non-2xx or 3xx responses: 12",
  ]) {
    it(`should throw when wrk reports "${errors}"`, function () {
      expect(() => parseWrk(`${WRK}  ${errors}\n`)).to.throw(errors);
    });
  }

  it("should throw when it is not a report", function () {
    expect(() => parseWrk("unable to connect")).to.throw("not a report of wrk");
  });
});

describe("parseRedisBenchmark()", function () {
  it("should read rate and latencies of each command, in microseconds", function () {
    const text = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"SET","66666.66","0.250","0.080","0.247","0.391","0.495","1.015"
"GET","71428.57","0.240","0.072","0.239","0.375","0.463","0.855"
`;
    expect(parseRedisBenchmark(text)).to.deep.equal({
      SET: { perSecond: 66_666.66, p50Us: 247, p99Us: 495 },
      GET: { perSecond: 71_428.57, p50Us: 239, p99Us: 463 },
    });
  });

  it("should throw when there are no figures", function () {
    expect(() => parseRedisBenchmark("Could not connect")).to.throw("not a report");
  });
});
