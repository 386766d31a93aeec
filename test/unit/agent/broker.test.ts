import { expect } from "chai";

import { REVOKE_GRACE_MS, type AgentMessage, type SessionMessage } from "../../../agent/api.ts";
import { Broker } from "../../../agent/broker.ts";
import { createAgentMetrics } from "../../../agent/metrics.ts";
import { DEFAULT_QUOTAS, type Quotas } from "../../../agent/quotas.ts";
import { catalogOf, FakeClock, FakeMember, FakeNative, silentLog } from "./fakes.ts";

const PODS = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
  - { name: c, address: 127.0.1.3 }
  - { name: bare, address: 127.0.1.4, injected: false }
  - { name: x, namespace: other, address: 127.0.1.5 }
`;
const SERVICES = `
services:
  - { name: sa, ports: [{ port: 80, targetPort: 8001 }], pods: [a] }
  - { name: sb, ports: [{ port: 80, targetPort: 8002 }], pods: [b, bare] }
  - { name: sb2, ports: [{ port: 80, targetPort: 8003 }], pods: [b] }
  - { name: sx, namespace: other, ports: [{ port: 80 }], pods: [other/x] }
`;
const SA = { service: "default/sa", port: 8001 };
const SB = { service: "default/sb", port: 8002 };
const SB2 = { service: "default/sb2", port: 8003 };

describe("Broker", function () {
  let clock: FakeClock;
  let native: FakeNative;
  let broker: Broker;
  let a: FakeMember;
  let b: FakeMember;

  function makeBroker(quotas: Partial<Quotas> = {}): Broker {
    return new Broker(catalogOf(PODS + SERVICES), {
      native,
      clock,
      quotas: { ...DEFAULT_QUOTAS, ...quotas },
      metrics: createAgentMetrics(),
      log: silentLog(),
    });
  }

  function join(name: string): FakeMember {
    const member = new FakeMember(name);
    broker.join(member);
    return member;
  }

  /** Opens the session from a to b and forgets the messages. */
  function openSession(): string {
    broker.open(a, 1, "default.b");
    b.take("session");
    const [message] = a.take("session");
    if (message === undefined) throw new Error("no session");
    return message.session;
  }

  function stateAfter(rules: string): void {
    broker.setCatalog(catalogOf(PODS + SERVICES + rules));
  }

  beforeEach(function () {
    clock = new FakeClock();
    native = new FakeNative();
    broker = makeBroker();
    a = join("default.a");
    b = join("default.b");
  });

  afterEach(function () {
    broker.stop();
    expect([...native.open], "descriptors left open").to.deep.equal([]);
  });

  describe("#open()", function () {
    it("should give each side its end, the other's identity and the grants of its view", function () {
      broker.open(a, 7, "default.b");
      const [toA] = a.sent;
      const [toB] = b.sent;
      const identity = (name: string, address: string): object => ({
        uid: `default.${name}`,
        namespace: "default",
        name,
        node: "here",
        addresses: [address],
      });
      const id = (toA?.message as SessionMessage).session;
      expect(id).to.match(/^[\w-]{16}$/);
      expect(toA?.message).to.deep.equal({
        type: "session",
        request: 7,
        session: id,
        side: "initiator",
        peer: identity("b", "127.0.1.2"),
        accept: [SA],
        connect: [SB, SB2],
      });
      expect(toB?.message).to.deep.equal({
        type: "session",
        session: id,
        side: "responder",
        peer: identity("a", "127.0.1.1"),
        accept: [SB, SB2],
        connect: [SA],
      });
      expect(toA?.fds).to.have.length(1);
      expect(toB?.fds).to.have.length(1);
      expect(toA?.fds).to.not.deep.equal(toB?.fds);
    });

    it("should keep a duplicate of one end only, for as long as its side is connected", function () {
      openSession();
      expect(native.open.size).to.equal(1);
      broker.leave(b);
      expect(native.open.size).to.equal(1);
      broker.leave(a);
      expect(native.open.size).to.equal(0);
      expect(native.shutDown).to.deep.equal([]);
    });

    it("should not hide the death of the side whose end it duplicated", function () {
      openSession();
      broker.leave(a);
      expect(native.open.size).to.equal(0);
      expect(broker.sessions()).to.have.length(1);
    });

    it("should answer with the session there is, without a descriptor, from either side", function () {
      const session = openSession();
      broker.open(a, 2, "default.b");
      broker.open(b, 3, "default.a");
      expect(a.sent[0]?.message).to.include({ request: 2, session, side: "initiator" });
      expect(b.sent[0]?.message).to.include({ request: 3, session, side: "responder" });
      expect([...(a.sent[0]?.fds ?? []), ...(b.sent[0]?.fds ?? [])]).to.deep.equal([]);
      expect(broker.sessions()).to.have.length(1);
    });

    it("should start anew when the sidecar that asks has lost the session with its process", function () {
      const session = openSession();
      broker.leave(b);
      b = join("default.b");
      broker.open(b, 1, "default.a");
      expect(a.types).to.deep.equal(["sessionClosed", "session"]);
      expect(a.sent[0]?.message).to.deep.equal({ type: "sessionClosed", session });
      expect(native.shutDown).to.have.length(1);
      expect(broker.sessions()).to.have.length(1);
    });

    const refused: [target: string, reason: string][] = [
      ["default.nobody", "peer_not_injected"],
      ["default.bare", "peer_not_injected"],
      ["default.a", "disabled"],
      ["other.x", "policy_denied"],
      // Backs no service.
      ["default.c", "policy_denied"],
    ];
    for (const [target, reason] of refused) {
      it(`should refuse ${target} with ${reason}`, function () {
        broker.open(a, 5, target);
        expect(a.sent[0]?.message).to.include({
          type: "sessionRefused",
          request: 5,
          pod: target,
          reason,
        });
        expect(broker.sessions()).to.have.length(0);
      });
    }

    it("should refuse with agent_unavailable when the peer's sidecar is not connected", function () {
      broker.leave(b);
      broker.open(a, 1, "default.b");
      expect(a.sent[0]?.message).to.include({ reason: "agent_unavailable" });
    });

    it("should refuse with fd_passing_refused when a side cannot receive descriptors", function () {
      b.canPassFds = false;
      broker.open(a, 1, "default.b");
      expect(a.sent[0]?.message).to.include({ reason: "fd_passing_refused" });
    });

    it("should refuse with quota when the node is out of descriptors", function () {
      native.isExhausted = true;
      broker.open(a, 1, "default.b");
      expect(a.sent[0]?.message).to.include({ reason: "quota" });
    });

    it("should refuse with quota beyond the sessions of a pod, of either side", function () {
      broker = makeBroker({ sessionsPerPod: 1 });
      a = join("default.a");
      b = join("default.b");
      const c = join("default.c");
      openSession();
      broker.open(c, 1, "default.b");
      expect(c.sent[0]?.message).to.include({ type: "sessionRefused", reason: "quota" });
    });

    it("should refuse with quota beyond the rate of requests, across connections", function () {
      broker = makeBroker({ sessionRequests: { perSecond: 1, burst: 2 } });
      a = join("default.a");
      for (let i = 0; i < 2; i++) broker.open(a, i, "default.b");
      broker.leave(a);
      a = join("default.a");
      broker.open(a, 3, "default.b");
      expect(a.sent[0]?.message).to.include({
        reason: "quota",
        message: "too many session requests",
      });
      clock.advance(1000);
      broker.open(a, 4, "default.b");
      expect(a.sent[1]?.message).to.include({ reason: "agent_unavailable" });
    });

    it("should leave nothing behind when one side cannot be sent its end", function () {
      a.isReachable = false;
      broker.open(a, 1, "default.b");
      expect(b.types).to.deep.equal(["session", "sessionClosed"]);
      expect(broker.sessions()).to.have.length(0);
      expect(native.open.size).to.equal(0);
    });
  });

  describe("#setCatalog()", function () {
    it("should say nothing when nothing changed for a session", function () {
      openSession();
      stateAfter("deny: [{ from: c, to: sb }]");
      expect([...a.types, ...b.types]).to.deep.equal([]);
    });

    it("should revoke what is lost first, then tell what is left", function () {
      const session = openSession();
      stateAfter("deny: [{ from: a, to: sb }]");
      expect(a.sent.map(({ message }) => message)).to.deep.equal([
        { type: "revoke", session, grants: [SB] },
        { type: "grants", session, accept: [SA], connect: [SB2] },
      ]);
      expect(b.sent.map(({ message }) => message)).to.deep.equal([
        { type: "revoke", session, grants: [SB] },
        { type: "grants", session, accept: [SB2], connect: [SA] },
      ]);
      clock.advance(10 * REVOKE_GRACE_MS);
      expect(native.shutDown).to.deep.equal([]);
    });

    it("should tell grants that are new", function () {
      stateAfter("deny: [{ from: a, to: sb }]");
      openSession();
      stateAfter("");
      expect(a.types).to.deep.equal(["grants"]);
    });

    it("should revoke everything, then shut down, when nothing is granted any more", function () {
      const session = openSession();
      stateAfter("deny: [{ from: a, to: sb }, { from: a, to: sb2 }, { from: b, to: sa }]");
      expect(a.sent.splice(0)[0]?.message).to.deep.equal({
        type: "revoke",
        session,
        grants: [SA, SB, SB2],
      });
      expect(native.shutDown).to.deep.equal([]);
      expect(broker.sessions()[0]?.isRevoked).to.equal(true);
      clock.advance(REVOKE_GRACE_MS);
      expect(native.shutDown).to.have.length(1);
      expect(a.types).to.deep.equal(["sessionClosed"]);
      expect(broker.sessions()).to.have.length(0);
    });

    it("should shut down at once when the side that could do it leaves before", function () {
      openSession();
      broker.setCatalog(catalogOf("pods: []"));
      broker.leave(a);
      expect(native.shutDown).to.have.length(1);
    });

    it("should end sessions of a pod that is gone", function () {
      openSession();
      broker.setCatalog(catalogOf("pods: [{ name: a, address: 127.0.1.1 }]"));
      expect(a.types).to.deep.equal(["revoke"]);
      clock.advance(REVOKE_GRACE_MS);
      expect(broker.sessions()).to.have.length(0);
    });

    it("should close a session whose sides were told what is not true any more", function () {
      openSession();
      broker.setCatalog(catalogOf(PODS.replace("127.0.1.2", "127.0.9.9") + SERVICES));
      expect(a.types).to.deep.equal(["sessionClosed"]);
      expect(native.shutDown).to.have.length(1);
    });

    it("should give a new session when one that is being revoked is granted again", function () {
      const first = openSession();
      broker.setCatalog(catalogOf("pods: []"));
      stateAfter("");
      a.take("revoke");
      broker.open(a, 2, "default.b");
      const [message] = a.take("session");
      expect(message?.session).to.be.a("string").not.equal(first);
      clock.advance(10 * REVOKE_GRACE_MS);
      expect(broker.sessions().map(({ id }) => id)).to.deep.equal([message?.session]);
      broker.open(a, 3, "default.b");
      expect(a.take("session")[0]?.session).to.equal(message?.session);
    });
  });

  describe("#adopt()", function () {
    const adopt = (
      member: FakeMember,
      peer: string,
      rest: {
        session?: string;
        side?: "initiator" | "responder";
        held?: { service: string; port: number }[];
      } = {},
    ): void => {
      const { session = "kept", side = "initiator", held = [] } = rest;
      broker.adopt(member, { type: "adopt", session, peer, side, held }, native.fd());
    };

    it("should take over a session from both sides after a restart, and keep one duplicate", function () {
      adopt(a, "default.b");
      expect(broker.sessions()[0]?.isWhole).to.equal(false);
      adopt(b, "default.a", { side: "responder" });
      expect(broker.sessions()).to.have.length(1);
      expect(broker.sessions()[0]?.isWhole).to.equal(true);
      expect(a.take("grants")).to.deep.equal([
        { type: "grants", session: "kept", accept: [SA], connect: [SB, SB2] },
      ]);
      expect(b.take("grants")).to.have.length(1);
      expect(native.open.size).to.equal(1);
      clock.advance(60_000);
      broker.open(a, 1, "default.b");
      expect(a.take("session")[0]?.session).to.equal("kept");
    });

    it("should revoke what was granted before the restart and is not now", function () {
      stateAfter("deny: [{ from: a, to: sb }]");
      adopt(a, "default.b", { held: [SB, SB2, SA] });
      expect(a.sent.map(({ message }) => message.type)).to.deep.equal(["revoke", "grants"]);
      expect(a.sent[0]?.message).to.deep.include({ grants: [SB] });
    });

    it("should revoke what was granted in both directions before the restart and is now in one", function () {
      const both = { service: "default/both", port: 8009 };
      stateAfter(`
  - { name: both, ports: [{ port: 80, targetPort: 8009 }], pods: [a, b] }
deny: [{ from: a, to: both }]`);
      adopt(a, "default.b", { held: [SA, both, SB, SB2, both] });
      expect(a.sent.map(({ message }) => message.type)).to.deep.equal(["revoke", "grants"]);
      expect(a.sent[0]?.message).to.deep.include({ grants: [both] });
      expect(a.sent[1]?.message).to.deep.include({ connect: [SB, SB2] });
    });

    it("should revoke and shut down what is not granted at all", function () {
      adopt(a, "other.x", { held: [SB] });
      expect(a.take("revoke")[0]?.grants).to.deep.equal([SB]);
      clock.advance(REVOKE_GRACE_MS);
      expect(native.shutDown).to.have.length(1);
      expect(a.types).to.deep.equal(["sessionClosed"]);
    });

    const refused: [what: string, run: () => void][] = [
      [
        "of a pod with itself",
        () => {
          adopt(a, "default.a");
        },
      ],
      [
        "whose descriptor is not a socket of a session",
        () => {
          const fd = native.fd();
          native.foreign.add(fd.number);
          broker.adopt(
            a,
            { type: "adopt", session: "s", peer: "default.b", side: "initiator", held: [] },
            fd,
          );
        },
      ],
      [
        "of other pods",
        () => {
          adopt(join("default.c"), "default.b");
          adopt(a, "default.b");
        },
      ],
      [
        "with the sides exchanged",
        () => {
          adopt(b, "default.a", { side: "responder" });
          adopt(a, "default.b", { side: "responder" });
        },
      ],
      [
        "a second time",
        () => {
          adopt(a, "default.b");
          adopt(a, "default.b");
        },
      ],
      [
        "beside another of the same pair",
        () => {
          openSession();
          adopt(a, "default.b");
        },
      ],
    ];
    for (const [what, run] of refused) {
      it(`should refuse a session ${what}`, function () {
        run();
        expect(a.sent.at(-1)?.message.type).to.equal("sessionClosed");
        expect(native.open.size).to.be.at.most(1);
      });
    }

    it("should refuse beyond the rate of requests", function () {
      broker = makeBroker({ sessionRequests: { perSecond: 1, burst: 1 } });
      a = join("default.a");
      adopt(a, "default.b", { session: "one" });
      adopt(a, "default.c", { session: "two" });
      expect(a.take("sessionClosed")).to.deep.equal([{ type: "sessionClosed", session: "two" }]);
    });

    it("should refuse sessions beyond the quota", function () {
      broker = makeBroker({ sessionsPerPod: 1 });
      a = join("default.a");
      adopt(a, "default.b", { session: "one" });
      adopt(a, "default.c", { session: "two" });
      expect(a.take("sessionClosed")).to.deep.equal([{ type: "sessionClosed", session: "two" }]);
    });
  });

  describe("#ended()", function () {
    it("should tell the other side and forget it", function () {
      const session = openSession();
      broker.ended(a, session, "protocol_error");
      expect(b.sent.map(({ message }) => message)).to.deep.equal([
        { type: "sessionClosed", session },
      ]);
      expect(a.types).to.deep.equal([]);
      expect(broker.sessions()).to.have.length(0);
    });

    it("should not let a pod end a session of others", function () {
      const session = openSession();
      broker.ended(join("default.c"), session, "closed");
      expect(broker.sessions()).to.have.length(1);
    });
  });

  describe("#report() and #sweep()", function () {
    it("should answer sessions that are not known with sessionClosed, some at a time", function () {
      const session = openSession();
      broker.report(a, [session, "gone"]);
      expect(a.sent.map(({ message }) => message)).to.deep.equal([
        { type: "sessionClosed", session: "gone" },
      ]);
      a.sent.length = 0;
      broker.report(
        a,
        Array.from({ length: 1024 }, (_, index) => `s${index}`),
      );
      expect(a.sent).to.have.length(64);
    });

    function passTime(
      seconds: number,
      reporters: readonly FakeMember[],
      session: string,
    ): AgentMessage["type"][] {
      for (let i = 0; i < seconds / 2; i++) {
        clock.advance(2000);
        for (const member of reporters) broker.report(member, [session]);
        broker.sweep();
      }
      return [...a.types, ...b.types] as AgentMessage["type"][];
    }

    it("should keep a session that both report", function () {
      expect(passTime(120, [a, b], openSession())).to.deep.equal([]);
    });

    it("should close a session that one side alone reports for more than 30 s", function () {
      const session = openSession();
      expect(passTime(30, [a], session)).to.deep.equal([]);
      expect(passTime(2, [a], session)).to.deep.equal(["sessionClosed", "sessionClosed"]);
      expect(native.shutDown).to.have.length(1);
    });

    it("should keep a session that nobody reports: a machine that slept is no reason", function () {
      expect(passTime(120, [], openSession())).to.deep.equal([]);
    });

    it("should close a session whose other side has not come back for more than 30 s", function () {
      const session = openSession();
      broker.leave(b);
      expect(passTime(30, [a], session)).to.deep.equal([]);
      expect(passTime(2, [a], session)).to.deep.equal(["sessionClosed"]);
    });
  });

  describe("#leave()", function () {
    it("should not take a member for its successor", function () {
      const later = join("default.a");
      broker.leave(a);
      expect(broker.isConnected("default.a")).to.equal(true);
      broker.leave(later);
      expect(broker.isConnected("default.a")).to.equal(false);
      expect(broker.memberCount).to.equal(1);
    });
  });
});
