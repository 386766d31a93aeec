import { expect } from "chai";

import { daemonExitCode, signalExitCode, StopRequest } from "../../../cli/daemon.ts";

describe("StopRequest", function () {
  it("should resolve with the first signal and listen no more once disposed of", async function () {
    const before = process.listenerCount("SIGHUP");
    {
      using stop = new StopRequest();
      expect(stop.isReceived).to.be.false;
      process.kill(process.pid, "SIGHUP");
      expect(await stop.received).to.equal("SIGHUP");
      expect(stop.isReceived).to.be.true;
    }
    expect(process.listenerCount("SIGHUP")).to.equal(before);
  });
});

describe("signalExitCode()", function () {
  it("should be what shells report", function () {
    expect(signalExitCode("SIGKILL")).to.equal(137);
  });
});

describe("daemonExitCode()", function () {
  it("should tell ctrl-C from an orderly stop", function () {
    expect([daemonExitCode("SIGINT"), daemonExitCode("SIGTERM")]).to.deep.equal([130, 0]);
  });
});
