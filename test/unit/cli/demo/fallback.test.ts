import { expect } from "chai";

import { wayTaken } from "../../../../cli/demo/fallback.ts";
import type { PodTraffic } from "../../../../cli/traffic.ts";

const IDLE = { outbound: 0, inbound: 0, open: 0, bytesSent: 0, bytesReceived: 0 };
const NOTHING: PodTraffic = { pod: "client", shm: IDLE, tcp: IDLE, failed: 0, fallbacks: {} };
const ONE = { ...IDLE, outbound: 1 };

describe("wayTaken()", function () {
  for (const [after, way] of [
    [NOTHING, "nothing"],
    [{ ...NOTHING, shm: ONE }, "shared memory"],
    [{ ...NOTHING, tcp: ONE }, "TCP"],
    [{ ...NOTHING, tcp: ONE, fallbacks: { quota: 1 } }, "TCP, reason quota"],
  ] as const) {
    it(`should say ${way}`, function () {
      expect(wayTaken(NOTHING, after)).to.equal(way);
    });
  }
});
