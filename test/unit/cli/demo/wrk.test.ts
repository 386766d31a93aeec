import { expect } from "chai";

import { meanResult, parseWrk, wrkWords } from "../../../../cli/demo/wrk.ts";

const REPORT = `Running 1s test @ http://127.0.0.1:9001/hello
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   412.11us  380.54us   8.05ms   94.11%
    Req/Sec    39.27k     2.90k   43.75k    80.00%
  Latency Distribution
     50%  342.00us
     75%  431.00us
     90%  601.00us
     99%    1.98ms
  39060 requests in 1.00s, 6.15MB read
Requests/sec:  39049.83
Transfer/sec:      6.14MB
`;

describe("parseWrk()", function () {
  it("should read rate, median and count", function () {
    expect(parseWrk(REPORT)).to.deep.equal({
      requestsPerSecond: 39049.83,
      requests: 39060,
      p50Micros: 342,
    });
  });

  it("should read milliseconds", function () {
    expect(parseWrk(REPORT.replace("342.00us", "1.25ms")).p50Micros).to.equal(1250);
  });

  for (const line of [
    "  Socket errors: connect 1, read 0, write 0, timeout 0",
    "  Non-2xx or 3xx responses: 12",
  ]) {
    it(`should refuse figures with errors in them: ${line.trim()}`, function () {
      expect(() => parseWrk(REPORT + line))
        .to.throw(line.trim())
        .with.property("code", "SHIMMY_ERR_SYSTEM");
    });
  }

  it("should refuse what is no report", function () {
    expect(() => parseWrk("unable to connect")).to.throw(/no report of wrk: unable to connect/);
  });
});

describe("wrkWords()", function () {
  const workload = { title: "", path: "/hello", connections: 4, isConnectionPerRequest: true };

  it("should ask for a connection per request by header", function () {
    const options = { program: "wrk", host: "h:1", seconds: 2 };
    expect(wrkWords(workload, options).join(" ")).to.equal(
      "wrk -t1 -c4 -d2s --latency -H Connection: close http://h:1/hello",
    );
    expect(wrkWords({ ...workload, isConnectionPerRequest: false }, options)).not.to.include("-H");
  });
});

describe("meanResult()", function () {
  it("should average rates and add up requests", function () {
    const one = { requestsPerSecond: 10, p50Micros: 1, requests: 5 };
    const two = { requestsPerSecond: 20, p50Micros: 3, requests: 7 };
    expect(meanResult([one, two])).to.deep.equal({
      requestsPerSecond: 15,
      p50Micros: 2,
      requests: 12,
    });
  });
});
