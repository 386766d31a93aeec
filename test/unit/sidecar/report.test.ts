import { expect } from "chai";

import { encodeMessage, parseClientMessage } from "../../../agent/api.ts";
import type { RelayStreamInfo } from "../../../shm-core/lib/relay.ts";
import { Reporter } from "../../../sidecar/report.ts";
import type { HeldSession } from "../../../sidecar/session-keeper.ts";
import { FakeRelay, PEER } from "./fakes.ts";

function stream(id: number, part: Partial<RelayStreamInfo> = {}): RelayStreamInfo {
  return {
    id,
    direction: "outbound",
    transport: "shm",
    service: "default/web",
    pod: PEER.uid,
    bytesToPeer: 0,
    bytesFromPeer: 0,
    ringBytes: 16_384,
    peerRingBytes: 16_384,
    ageMs: 1,
    ...part,
  };
}

describe("Reporter#report()", function () {
  let relay: FakeRelay;
  let held: HeldSession[];
  let reporter: Reporter;

  beforeEach(function () {
    relay = new FakeRelay();
    held = [];
    reporter = new Reporter({ relay, sessions: { sessions: () => held } });
  });

  function open(...streams: RelayStreamInfo[]): void {
    relay.open = streams;
    const bytes = streams.reduce((sum, { bytesToPeer }) => sum + bytesToPeer, 0);
    relay.values = { active_shm: streams.length, bytes_to_shm: bytes };
  }

  it("should add up streams of one peer, service, transport and direction", function () {
    open(
      stream(1, { bytesToPeer: 10, bytesFromPeer: 1 }),
      stream(2, { bytesToPeer: 5 }),
      stream(3, { direction: "inbound" }),
    );
    expect(reporter.report().streams).to.deep.equal([
      {
        peer: PEER.uid,
        service: "default/web",
        transport: "shm",
        direction: "out",
        open: 2,
        opened: 2,
        bytesSent: 15,
        bytesReceived: 1,
      },
      {
        peer: PEER.uid,
        service: "default/web",
        transport: "shm",
        direction: "in",
        open: 1,
        opened: 1,
        bytesSent: 0,
        bytesReceived: 0,
      },
    ]);
  });

  it("should count on from report to report, and keep what ended streams had", function () {
    open(stream(1, { bytesToPeer: 10 }));
    reporter.report();
    open(stream(1, { bytesToPeer: 25 }), stream(2, { bytesToPeer: 1 }));
    expect(reporter.report().streams[0]).to.include({ open: 2, opened: 2, bytesSent: 26 });
    open();
    expect(reporter.report().streams[0]).to.include({ open: 0, opened: 2, bytesSent: 26 });
  });

  it("should not ask the relay's threads when nothing has moved", function () {
    let asked = 0;
    relay.streams = () => {
      asked += 1;
      return relay.open;
    };
    open(stream(1, { bytesToPeer: 1 }));
    const first = reporter.report();
    expect(reporter.report()).to.deep.equal(first);
    expect(asked).to.equal(1);
    open(stream(1, { bytesToPeer: 2 }));
    expect(reporter.report().streams[0]).to.include({ bytesSent: 2 });
    expect(asked).to.equal(2);
  });

  it("should name sessions, and fallbacks that happened", function () {
    const counters = relay.counters();
    relay.counters = () => ({ ...counters, fallbacks: { ...counters.fallbacks, quota: 3 } });
    held = [{ id: "s1", peer: PEER, side: "initiator", accept: [], connect: [] }];
    expect(reporter.report()).to.deep.include({ fallbacks: { quota: 3 }, sessions: ["s1"] });
  });

  it("should stay within the contract whatever there is, the busiest peers first", function () {
    const streams = Array.from({ length: 3000 }, (_, id) =>
      stream(id, {
        pod: `default.peer-${id}`,
        transport: id % 2 === 0 ? "shm" : "tcp",
        direction: id % 3 === 0 ? "inbound" : "outbound",
        bytesToPeer: id,
      }),
    );
    open(...streams);
    held = Array.from({ length: 1024 }, (_, id) => ({
      id: `session-${String(id).padStart(16, "0")}`,
      peer: PEER,
      side: "initiator",
      accept: [],
      connect: [],
    }));
    const report = reporter.report();
    expect(parseClientMessage(encodeMessage(report))).to.deep.equal(report);
    expect(report.streams[0]?.peer).to.equal("default.peer-2999");
    expect(report.streams.reduce((sum, row) => sum + row.open, 0)).to.equal(3000);
    expect(report.streams.filter(({ peer }) => peer === "others")).to.have.length(4);
  });

  it("should forget rows of peers that are gone, not those that are there", function () {
    open(...Array.from({ length: 2000 }, (_, id) => stream(id, { pod: `default.peer-${id}` })));
    reporter.report();
    open(stream(9999, { pod: "default.peer-0" }));
    const { streams } = reporter.report();
    expect(streams[0]).to.include({ peer: "default.peer-0", open: 1, opened: 2 });
    const opened = streams.reduce((sum, row) => sum + row.opened, 0);
    expect(opened).to.be.below(2000);
  });
});
