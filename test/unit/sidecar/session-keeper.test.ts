import { expect } from "chai";

import type { ClientMessage } from "../../../agent/api.ts";
import { ShimmyError } from "../../../common/errors.ts";
import type { Fd } from "../../../sidecar/native.ts";
import { SessionKeeper, type AgentLink } from "../../../sidecar/session-keeper.ts";
import { FakeClock } from "../agent/fakes.ts";
import { captureLog, FakeFd, FakeNative, PEER, sessionMessage } from "./fakes.ts";

class FakeLink implements AgentLink {
  readonly sent: ClientMessage[] = [];
  readonly fds: Fd[] = [];
  isFull = false;

  send(message: ClientMessage, fds: readonly Fd[] = []): boolean {
    if (this.isFull) return false;
    this.sent.push(message);
    this.fds.push(...fds);
    return true;
  }
}

describe("SessionKeeper", function () {
  let native: FakeNative;
  let link: FakeLink;
  let clock: FakeClock;
  let keeper: SessionKeeper;

  beforeEach(function () {
    native = new FakeNative();
    link = new FakeLink();
    clock = new FakeClock();
    const { log } = captureLog();
    keeper = new SessionKeeper({ relay: native.relay, native, clock, log });
  });

  afterEach(function () {
    keeper.stop();
    expect(clock.pending).to.equal(0);
  });

  function lastCall(): unknown {
    return native.relay.calls.at(-1);
  }

  describe("#need()", function () {
    it("should ask the agent once per pod", function () {
      keeper.attach(link);
      keeper.need(PEER.uid);
      keeper.need(PEER.uid);
      keeper.need("default.other");
      expect(link.sent).to.deep.equal([
        { type: "openSession", request: 1, pod: PEER.uid },
        { type: "openSession", request: 2, pod: "default.other" },
      ]);
    });

    it("should fail the session at once when there is no agent (I2)", function () {
      keeper.need(PEER.uid);
      expect(lastCall()).to.deep.equal(["failSession", PEER.uid, "agent_unavailable"]);
    });

    it("should fail it when the agent cannot be sent the question", function () {
      link.isFull = true;
      keeper.attach(link);
      keeper.need(PEER.uid);
      expect(lastCall()).to.deep.equal(["failSession", PEER.uid, "agent_unavailable"]);
    });

    it("should fail it when the agent does not answer, and ask again later", function () {
      keeper.attach(link);
      keeper.need(PEER.uid);
      clock.advance(5000);
      expect(lastCall()).to.deep.equal(["failSession", PEER.uid, "agent_unavailable"]);
      keeper.need(PEER.uid);
      expect(link.sent).to.have.length(2);
    });

    it("should fail what is unanswered when the agent goes", function () {
      keeper.attach(link);
      keeper.need(PEER.uid);
      keeper.detach();
      expect(lastCall()).to.deep.equal(["failSession", PEER.uid, "agent_unavailable"]);
    });
  });

  describe("#refused()", function () {
    it("should give the relay the agent's reason", function () {
      keeper.attach(link);
      keeper.need(PEER.uid);
      const pod = PEER.uid;
      keeper.refused({ type: "sessionRefused", request: 1, pod, reason: "quota", message: "full" });
      expect(lastCall()).to.deep.equal(["failSession", PEER.uid, "quota"]);
    });
  });

  describe("#opened()", function () {
    it("should give the session to the relay and keep a duplicate (I1)", function () {
      const fd = new FakeFd();
      keeper.opened(sessionMessage("s1"), fd);
      expect(native.relay.calls).to.deep.equal([
        ["addSession", "s1", "initiator", PEER.uid, [{ service: "default/client", port: 8080 }]],
      ]);
      expect(native.relay.owned).to.deep.equal([fd]);
      expect(native.duplicates.map(({ isOpen }) => isOpen)).to.deep.equal([true]);
      expect(keeper.sessions()).to.have.length(1);
    });

    it("should take an answer without a descriptor for the session there is", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      keeper.opened(sessionMessage("s1", 1), undefined);
      expect(native.relay.calls).to.have.length(1);
    });

    it("should fail the session that the agent thinks we have", function () {
      keeper.opened(sessionMessage("s1", 1), undefined);
      expect(lastCall()).to.deep.equal(["failSession", PEER.uid, "agent_unavailable"]);
    });

    it("should close both descriptors and tell the agent when the relay refuses", function () {
      native.relay.sessionError = new ShimmyError("SHIMMY_ERR_SYSTEM", "EINVAL");
      keeper.attach(link);
      const fd = new FakeFd();
      keeper.opened(sessionMessage("s1", 1), fd);
      expect([fd, ...native.duplicates].map(({ isOpen }) => isOpen)).to.deep.equal([false, false]);
      expect(lastCall()).to.deep.equal(["failSession", PEER.uid, "agent_unavailable"]);
      expect(link.sent).to.deep.equal([{ type: "sessionEnded", session: "s1", reason: "bad_fd" }]);
    });

    it("should leave the session alone whose id is given to another", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      const second = new FakeFd();
      keeper.opened(sessionMessage("s1"), second);
      expect(second.isOpen).to.equal(false);
      expect(keeper.sessions()).to.have.length(1);
      expect(native.duplicates[0]?.isOpen).to.equal(true);
    });
  });

  describe("#attach()", function () {
    it("should adopt every session before it asks for one (I3)", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      keeper.attach(link);
      keeper.need("default.other");
      expect(link.sent).to.deep.equal([
        {
          type: "adopt",
          session: "s1",
          peer: PEER.uid,
          side: "initiator",
          held: [
            { service: "default/client", port: 8080 },
            { service: "default/web", port: 8080 },
          ],
        },
        { type: "openSession", request: 1, pod: "default.other" },
      ]);
      expect(link.fds).to.deep.equal(native.duplicates);
    });

    it("should close a session that the agent cannot be shown: nobody could revoke it", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      link.isFull = true;
      keeper.attach(link);
      expect(lastCall()).to.deep.equal(["closeSession", "s1"]);
    });
  });

  describe("#granted() and #revoked()", function () {
    it("should tell the relay, and show what is left at the next adoption", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      const added = { service: "default/more", port: 1 };
      keeper.granted({ type: "grants", session: "s1", accept: [added], connect: [added] });
      expect(lastCall()).to.deep.equal(["setGrants", "s1", [added]]);
      keeper.revoked({ type: "revoke", session: "s1", grants: [added] });
      expect(lastCall()).to.deep.equal(["revoke", "s1", [added]]);
      expect(keeper.sessions()[0]).to.deep.include({ accept: [], connect: [] });
    });

    it("should pass over sessions that are gone", function () {
      keeper.granted({ type: "grants", session: "s1", accept: [], connect: [] });
      keeper.revoked({ type: "revoke", session: "s1", grants: [] });
      keeper.closed("s1");
      expect(native.relay.calls).to.deep.equal([]);
    });
  });

  describe("#ended()", function () {
    it("should end the socket for the peer, close the duplicate and tell the agent", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      keeper.attach(link);
      keeper.ended("s1", "peer_gone");
      expect(native.shutDown).to.deep.equal(native.duplicates);
      expect(native.duplicates[0]?.isOpen).to.equal(false);
      expect(link.sent.at(-1)).to.deep.equal({
        type: "sessionEnded",
        session: "s1",
        reason: "peer_gone",
      });
      expect(keeper.sessions()).to.deep.equal([]);
      expect(keeper.ends).to.include({ peer_gone: 1, closed: 0 });
    });
  });

  describe("#closed()", function () {
    it("should close the relay's session", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      keeper.closed("s1");
      expect(lastCall()).to.deep.equal(["closeSession", "s1"]);
    });
  });

  describe("#stop()", function () {
    it("should close every duplicate", function () {
      keeper.opened(sessionMessage("s1"), new FakeFd());
      keeper.stop();
      expect(native.duplicates[0]?.isOpen).to.equal(false);
    });
  });
});
