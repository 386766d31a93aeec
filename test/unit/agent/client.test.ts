import { expect } from "chai";
import fc from "fast-check";

import {
  encodeMessage,
  HELLO_TIMEOUT_MS,
  PROTOCOL_VERSION,
  type ClientMessage,
  type EndpointsMessage,
} from "../../../agent/api.ts";
import { Broker } from "../../../agent/broker.ts";
import type { Catalog } from "../../../agent/catalog.ts";
import type { ChannelBroker } from "../../../agent/channels/broker.ts";
import { Client } from "../../../agent/client.ts";
import { createAgentMetrics } from "../../../agent/metrics.ts";
import { DEFAULT_QUOTAS, TokenBucket, type Rate } from "../../../agent/quotas.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { catalogOf, channelBroker, FakeClock, FakeNative, FakeSocket, silentLog } from "./fakes.ts";

const CATALOG = `
pods:
  - { name: a, address: 127.0.1.1, runAs: [1000] }
  - { name: b, address: 127.0.1.2, runAs: [1000], ports: [8002] }
services:
  - { name: sb, ports: [{ port: 80, targetPort: 8002 }], pods: [b] }
`;

function hello(name: string): ClientMessage {
  return {
    type: "hello",
    version: 1,
    pod: { namespace: "default", name },
    pid: 42,
    capabilities: { fdPassing: true },
  };
}

describe("Client", function () {
  let clock: FakeClock;
  let native: FakeNative;
  let broker: Broker;
  let channels: ChannelBroker;
  let catalog: Catalog;
  let closed: Client[];
  let clients: Client[];

  function connect(
    name: string,
    {
      socket = new FakeSocket(),
      messages = DEFAULT_QUOTAS.messages,
      newestVersion,
    }: { socket?: FakeSocket; messages?: Rate; newestVersion?: number } = {},
  ): FakeSocket {
    const client = new Client(`default.${name}`, socket, {
      broker,
      channels,
      quotas: DEFAULT_QUOTAS,
      native,
      clock,
      metrics: createAgentMetrics(),
      log: silentLog(),
      messages: new TokenBucket(messages, clock),
      newestVersion,
      catalog: () => catalog,
      onWelcome: () => undefined,
      onClose: (ended) => closed.push(ended),
    });
    clients.push(client);
    client.start();
    return socket;
  }

  function connected(name: string): FakeSocket {
    const socket = connect(name);
    socket.deliver(hello(name));
    socket.sent.length = 0;
    return socket;
  }

  function change(text: string): void {
    catalog = catalogOf(text);
    broker.setCatalog(catalog);
    channels.setCatalog(catalog);
    for (const client of clients) client.catalogChanged();
  }

  /** Expects that the client was told why, and that the connection ends after the linger. */
  function expectCutOff(socket: FakeSocket, code: string, message?: RegExp): void {
    expect(socket.last).to.include({ type: "error", code });
    if (message !== undefined)
      expect(socket.last).to.have.property("message").that.matches(message);
    expect(socket.isClosed).to.equal(false);
    clock.advance(100);
    expect(socket.isClosed).to.equal(true);
    expect(closed).to.have.length(1);
  }

  beforeEach(function () {
    clock = new FakeClock();
    native = new FakeNative();
    catalog = catalogOf(CATALOG);
    closed = [];
    clients = [];
    channels = channelBroker(catalog, { native, clock });
    broker = new Broker(catalog, {
      native,
      clock,
      quotas: DEFAULT_QUOTAS,
      metrics: createAgentMetrics(),
      log: silentLog(),
    });
  });

  afterEach(function () {
    for (const client of clients) client.close();
    broker.stop();
    expect([...native.open], "descriptors left open").to.deep.equal([]);
    expect(clock.pending, "timers left").to.equal(0);
  });

  describe("hello", function () {
    it("should be answered with what the pod is", function () {
      const socket = connect("b");
      expect(socket.sent).to.deep.equal([]);
      socket.deliver(hello("b"));
      expect(socket.last).to.deep.equal({
        type: "welcome",
        version: 1,
        pod: {
          uid: "default.b",
          namespace: "default",
          name: "b",
          node: "here",
          addresses: ["127.0.1.2"],
        },
        appPorts: [8002],
        appAddress: "127.0.1.2",
      });
      expect(broker.isConnected("default.b")).to.equal(true);
    });

    it("should be answered with our version by one that speaks a newer", function () {
      const socket = connect("b");
      socket.deliver({ ...hello("b"), version: PROTOCOL_VERSION + 1 } as ClientMessage);
      expect(socket.last).to.include({ type: "welcome", version: PROTOCOL_VERSION });
    });

    it("should be answered with the version that the agent is to speak at most", function () {
      for (const newestVersion of [1, PROTOCOL_VERSION + 1]) {
        const socket = connect("b", { newestVersion });
        socket.deliver({ ...hello("b"), version: PROTOCOL_VERSION } as ClientMessage);
        const version = Math.min(newestVersion, PROTOCOL_VERSION);
        expect(socket.last).to.include({ type: "welcome", version });
      }
    });

    it("should end one that speaks only versions we do not", function () {
      const socket = connect("b");
      socket.deliver({ ...hello("b"), version: 0 } as ClientMessage);
      expectCutOff(socket, "SHIMMY_ERR_VERSION_MISMATCH");
    });

    it("should end a user that may not be the pod, before it said anything", function () {
      const socket = connect("a", { socket: new FakeSocket({ pid: 7, uid: 0 }) });
      expectCutOff(socket, "SHIMMY_ERR_NOT_ATTESTED", /user 0 may not be pod default\/a/);
    });

    it("should have no effect from a user that was refused", function () {
      const socket = connect("a", { socket: new FakeSocket({ pid: 7, uid: 0 }) });
      socket.deliver(hello("a"));
      expect(socket.types).to.deep.equal(["error"]);
      expect(broker.isConnected("default.a")).to.equal(false);
    });

    it("should end one that names another pod than that of the socket", function () {
      const socket = connect("a");
      socket.deliver(hello("b"));
      expectCutOff(
        socket,
        "SHIMMY_ERR_NOT_ATTESTED",
        /hello from pod default\/b on the socket of default\/a/,
      );
    });

    it("should end one that takes too long", function () {
      const socket = connect("a");
      clock.advance(HELLO_TIMEOUT_MS);
      expectCutOff(socket, "SHIMMY_ERR_TIMEOUT");
    });

    it("should end one that says it twice", function () {
      const socket = connected("a");
      socket.deliver(hello("a"));
      expectCutOff(socket, "SHIMMY_ERR_PROTOCOL", /second hello/);
    });

    it("should come first", function () {
      const socket = connect("a");
      socket.deliver({ type: "watch", services: [] });
      expectCutOff(socket, "SHIMMY_ERR_PROTOCOL", /watch message before hello/);
    });
  });

  describe("channelsHello", function () {
    const channelsHello = { type: "channelsHello", version: 3, pid: 42 } as const;

    it("should make a process that attaches channels, and leave the sidecar alone", function () {
      const [sidecar, one, other] = [connected("a"), connect("a"), connect("a")];
      one.deliver(channelsHello);
      other.deliver({ ...channelsHello, pod: { namespace: "default", name: "a" } });
      expect(one.last).to.include({ type: "welcome", version: 3 });
      expect(other.last).to.include({ type: "welcome" });
      expect(sidecar.types).to.deep.equal([]);
      expect(broker.memberCount).to.equal(1);
      expect(channels.membersOf("default.a")).to.equal(2);
      one.hangUp();
      expect(channels.memberCount).to.equal(1);
    });

    const cutOff: [what: string, message: object, code: string][] = [
      ["of an older version", { ...channelsHello, version: 2 }, "SHIMMY_ERR_VERSION_MISMATCH"],
      [
        "as another pod",
        { ...channelsHello, pod: { namespace: "default", name: "b" } },
        "SHIMMY_ERR_NOT_ATTESTED",
      ],
      ["never said", { type: "detachChannel", attachment: "x" }, "SHIMMY_ERR_PROTOCOL"],
    ];
    for (const [what, message, code] of cutOff) {
      it(`should be cut off: ${what}`, function () {
        const socket = connect("a");
        socket.deliver(message as ClientMessage);
        expectCutOff(socket, code);
        expect(channels.memberCount).to.equal(0);
      });
    }

    it("should be refused by an agent that speaks an older version", function () {
      const socket = connect("a", { newestVersion: 2 });
      socket.deliver(channelsHello);
      expectCutOff(socket, "SHIMMY_ERR_VERSION_MISMATCH");
    });

    it("should not let a sidecar attach channels", function () {
      const sidecar = connected("a");
      sidecar.deliver({ type: "detachChannel", attachment: "x" });
      expectCutOff(sidecar, "SHIMMY_ERR_PROTOCOL");
    });

    it("should not let such a process do what a sidecar does", function () {
      const one = connect("a");
      one.deliver(channelsHello);
      one.sent.length = 0;
      one.deliver({ type: "watch", services: [] });
      expectCutOff(one, "SHIMMY_ERR_PROTOCOL");
    });

    it("should close descriptors that a message does not speak of", function () {
      const one = connect("a");
      one.deliver(channelsHello);
      const regions = ["data", "producer"] as const;
      const message = { type: "lodgeRegions", attachment: "x", generation: 1, regions } as const;
      one.sent.length = 0;
      one.deliver(message, [native.fd()]);
      expectCutOff(one, "SHIMMY_ERR_PROTOCOL");
      expect(native.open.size).to.equal(0);
    });
  });

  describe("watch", function () {
    it("should be answered with all, then with what changes only", function () {
      const socket = connected("a");
      socket.deliver({ type: "watch", services: ["default/sb", "default/none", "default/sb"] });
      expect(socket.last).to.have.nested.property("services.length", 2);
      expect(socket.last).to.have.nested.property("services[0].endpoints[0].transport", "shm");
      socket.sent.length = 0;
      change(`${CATALOG}deny: [{ from: b, to: sb }]`);
      expect(socket.types).to.deep.equal([]);
      change(`${CATALOG}deny: [{ from: a, to: sb }]`);
      expect(socket.types).to.deep.equal(["endpoints"]);
      expect(socket.last).to.have.nested.property("services.length", 1);
      expect(socket.last).to.have.nested.property(
        "services[0].endpoints[0].reason",
        "policy_denied",
      );
    });

    for (const version of [1, PROTOCOL_VERSION]) {
      it(`should tell a client of version ${version} what that version has`, function () {
        const socket = connect("a");
        socket.deliver({ ...hello("a"), version } as ClientMessage);
        const { rules } = catalog;
        rules.check = ({ backing: { port } }) => (port === 8003 ? "policy_denied" : undefined);
        const text = CATALOG.replace("ports: [8002]", "ports: [8002, 8003]").replace(
          "[{ port: 80, targetPort: 8002 }]",
          "[{ name: a, port: 80, targetPort: 8002 }, { name: b, port: 81, targetPort: 8003 }]",
        );
        catalog = { ...catalogOf(text), rules };
        socket.deliver({ type: "watch", services: ["default/sb"] });
        const message = socket.last as EndpointsMessage;
        const [endpoint] = message.services[0]?.endpoints ?? [];
        if (version === 1) {
          expect(endpoint).to.include({ transport: "tcp", reason: "policy_denied" });
          expect(endpoint).to.not.have.property("ports");
        } else {
          expect(endpoint).to.include({ transport: "shm" });
          expect(endpoint?.ports?.map(({ reason }) => reason)).to.deep.equal([
            undefined,
            "policy_denied",
          ]);
        }
      });
    }

    it("should replace what was watched before", function () {
      const socket = connected("a");
      socket.deliver({ type: "watch", services: ["default/sb"] });
      socket.deliver({ type: "watch", services: [] });
      socket.sent.length = 0;
      change(`${CATALOG}deny: [{ from: a, to: sb }]`);
      expect(socket.types).to.deep.equal([]);
    });
  });

  describe("catalogChanged()", function () {
    it("should say welcome again when the pod's ports change", function () {
      const socket = connected("b");
      change(CATALOG.replace("[8002]", "[8002, 9]"));
      expect(socket.last).to.deep.include({ type: "welcome", appPorts: [9, 8002] });
    });

    it("should end a user that may not be the pod any more", function () {
      const socket = connected("a");
      change(CATALOG.replaceAll("[1000]", "[1]"));
      expectCutOff(socket, "SHIMMY_ERR_NOT_ATTESTED");
    });

    it("should end the sidecar of a pod that is gone", function () {
      const socket = connected("a");
      change("pods: []");
      expectCutOff(socket, "SHIMMY_ERR_NOT_FOUND");
    });
  });

  describe("sessions", function () {
    it("should be opened between two clients", function () {
      const [a, b] = [connected("a"), connected("b")];
      a.deliver({ type: "openSession", request: 1, pod: "default.b" });
      expect(a.last).to.include({ type: "session", request: 1, side: "initiator" });
      expect(b.last).to.include({ type: "session", side: "responder" });
      expect([a.sent.at(-1)?.fds.length, b.sent.at(-1)?.fds.length]).to.deep.equal([1, 1]);
    });

    it("should be adopted with a descriptor", function () {
      const a = connected("a");
      a.deliver({ type: "adopt", session: "s", peer: "default.b", side: "initiator", held: [] }, [
        native.fd(),
      ]);
      expect(a.last).to.include({ type: "grants", session: "s" });
    });

    it("should be ended and reported", function () {
      const a = connected("a");
      a.deliver({ type: "adopt", session: "s", peer: "default.b", side: "initiator", held: [] }, [
        native.fd(),
      ]);
      a.deliver({ type: "report", streams: [], fallbacks: { quota: 3 }, sessions: ["s", "t"] });
      expect(a.last).to.deep.equal({ type: "sessionClosed", session: "t" });
      expect(clients[0]?.report?.fallbacks).to.deep.equal({ quota: 3 });
      a.deliver({ type: "sessionEnded", session: "s", reason: "closed" });
      expect(broker.sessions()).to.deep.equal([]);
    });
  });

  describe("hostile clients", function () {
    it("should be told what was wrong with a message, and cut off", function () {
      const socket = connected("a");
      socket.deliverBytes(Buffer.from("rubbish"));
      expectCutOff(socket, "SHIMMY_ERR_PROTOCOL", /not JSON/);
    });

    it("should have descriptors closed that do not belong to a message", function () {
      const socket = connected("a");
      socket.deliver({ type: "watch", services: [] }, [native.fd(), native.fd()]);
      expect(native.open.size).to.equal(0);
      expectCutOff(socket, "SHIMMY_ERR_PROTOCOL", /watch message with 2 descriptors/);
    });

    it("should have descriptors closed that come after the end", function () {
      const socket = connected("a");
      socket.deliverBytes(Buffer.from("rubbish"));
      socket.deliver(hello("a"), [native.fd()]);
      expect(native.open.size).to.equal(0);
    });

    it("should need a descriptor to adopt", function () {
      const socket = connected("a");
      socket.deliver({
        type: "adopt",
        session: "s",
        peer: "default.b",
        side: "initiator",
        held: [],
      });
      expectCutOff(socket, "SHIMMY_ERR_PROTOCOL", /adopt message with 0 descriptors/);
    });

    it("should be cut off when they flood", function () {
      const socket = connect("a", { messages: { perSecond: 1, burst: 10 } });
      socket.deliver(hello("a"));
      for (let i = 0; i < 1000; i++) socket.deliver({ type: "watch", services: [] });
      expectCutOff(socket, "SHIMMY_ERR_RATE_LIMITED");
    });

    it("should pay for big messages by their size", function () {
      const socket = connect("a", { messages: { perSecond: 1, burst: 17 } });
      socket.deliver(hello("a"));
      const big = `{"type":"watch","services":[],"filler":"${"x".repeat(65_000)}"}`;
      socket.deliverBytes(Buffer.from(big));
      expect(socket.types).to.deep.equal(["welcome"]);
      socket.deliver({ type: "watch", services: [] });
      expectCutOff(socket, "SHIMMY_ERR_RATE_LIMITED");
    });

    it("should be cut off when they do not read for 5 s", function () {
      const socket = connected("a");
      socket.isRead = false;
      const ask = (): void => {
        socket.deliver({ type: "openSession", request: 1, pod: "default.nobody" });
      };
      ask();
      clock.advance(5000);
      ask();
      expect(socket.last).to.include({ type: "sessionRefused" });
      clock.advance(1);
      ask();
      expectCutOff(socket, "SHIMMY_ERR_SLOW_READER");
    });

    it("should be forgiven when they read again in time", function () {
      const socket = connected("a");
      for (let i = 0; i < 10; i++) {
        socket.isRead = i % 2 === 0;
        clock.advance(4000);
        socket.deliver({ type: "openSession", request: 1, pod: "default.nobody" });
      }
      expect(socket.types).to.not.include("error");
    });

    it("should not matter when the native socket gives up on them", function () {
      const socket = connected("a");
      socket.hangUp(new ShimmyError("SHIMMY_ERR_SLOW_READER", "queue full"));
      expect(broker.isConnected("default.a")).to.equal(false);
      expect(closed).to.have.length(1);
      expect(clients[0]?.send({ type: "sessionClosed", session: "s" })).to.equal(false);
    });

    it("should not be able to throw with any sequence of messages", function () {
      const anyMessage = fc.oneof(
        fc
          .constantFrom<ClientMessage>(
            hello("a"),
            hello("b"),
            { type: "watch", services: ["default/sb"] },
            { type: "openSession", request: 1, pod: "default.b" },
            { type: "openSession", request: 1, pod: "__proto__" },
            { type: "adopt", session: "s", peer: "default.b", side: "responder", held: [] },
            { type: "sessionEnded", session: "s", reason: "closed" },
            { type: "report", streams: [], fallbacks: {}, sessions: ["s"] },
          )
          .map(encodeMessage),
        fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      );
      const step = fc.record({
        data: anyMessage,
        fds: fc.nat(2),
        who: fc.nat(2),
        hangUp: fc.nat(20),
      });
      fc.assert(
        fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
          const sockets = [connected("b"), connect("a"), connect("a")];
          for (const { data, fds, who, hangUp } of steps) {
            const socket = sockets[who];
            if (hangUp === 0) socket?.hangUp();
            else
              socket?.deliverBytes(
                data,
                Array.from({ length: fds }, () => native.fd()),
              );
          }
          for (const client of clients.splice(0)) client.close();
          expect(native.open.size).to.equal(0);
          expect(broker.sessions()).to.deep.equal([]);
        }),
      );
    });
  });
});
