import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readlinkSync, openSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { ShimmyError } from "../../../../common/errors.ts";
import {
  END_REASONS,
  FALLBACK_REASONS,
  SESSION_END_REASONS,
  type FallbackReason,
} from "../../../../common/reasons.ts";
import { OwnedFd, socketPair } from "../../../../shm-core/lib/control-socket.ts";
import { native } from "../../../../shm-core/lib/native.ts";
import {
  Relay,
  type RelayOptions,
  type RelayPeer,
  type RelayUpstream,
} from "../../../../shm-core/lib/relay.ts";

const SERVICE = "default/echo";
const OPTIONS: RelayOptions = {
  threads: 1,
  spinMicros: 0,
  ringBudgetBytes: 8 << 20,
  maxRingBytes: 1 << 20,
  maxConnections: 100,
  maxStreamsPerPeer: 100,
  openTimeoutMs: 1000,
  connectTimeoutMs: 1000,
  idleTimeoutMs: 0,
};

/** A relay that remembers its events. */
class TestRelay {
  readonly needed: string[] = [];
  readonly ready: string[] = [];
  readonly ended: string[] = [];
  onNeeded: (pod: string) => void = () => undefined;
  readonly relay: Relay;

  constructor(options: Partial<RelayOptions> = {}) {
    this.relay = Relay.start(
      { ...OPTIONS, ...options },
      {
        onSessionNeeded: (pod) => {
          this.needed.push(pod);
          this.onNeeded(pod);
        },
        onSessionReady: (id) => this.ready.push(id),
        onSessionEnded: (id, reason) => this.ended.push(`${id} ${reason}`),
      },
    );
  }

  counter(name: string): number {
    return this.relay.counters().values.get(name) ?? NaN;
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(2);
}

function codeOf(act: () => unknown): string | undefined {
  try {
    act();
  } catch (err) {
    return (err as ShimmyError).code;
  }
  return undefined;
}

function peerOf(pod: string): RelayPeer {
  return { pod, namespace: "default", name: pod, addresses: ["127.0.0.1"] };
}

function openSockets(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      return false;
    }
  }).length;
}

describe("Relay", function () {
  let relays: TestRelay[];
  let echo: Server;
  let echoPort: number;
  let clients: Socket[];
  let socketsBefore: number;

  function start(options?: Partial<RelayOptions>): TestRelay {
    const started = new TestRelay(options);
    relays.push(started);
    return started;
  }

  function upstream(reason?: FallbackReason): RelayUpstream {
    const endpoint = { pod: "server", address: "127.0.0.1", port: echoPort };
    const endpoints =
      reason === undefined
        ? [{ ...endpoint, transport: "shm" as const }]
        : [{ ...endpoint, transport: "tcp" as const, reason }];
    return { service: SERVICE, port: 80, endpoints };
  }

  function listen(from: TestRelay, to: RelayUpstream): number {
    return from.relay.listen({ address: "127.0.0.1", port: 0, upstream: to }).port;
  }

  /** Introduces two relays, as the agent does. */
  function introduce(client: TestRelay, server: TestRelay, id = "session"): void {
    const [a, b] = socketPair();
    const accept = [{ service: SERVICE, port: echoPort }];
    server.relay.setDelivery([{ port: echoPort, address: "127.0.0.1" }]);
    server.relay.addSession({ id, fd: b, side: "responder", peer: peerOf("client"), accept });
    client.relay.addSession({
      id,
      fd: a,
      side: "initiator",
      peer: peerOf("server"),
      accept: [],
    });
  }

  async function dial(port: number): Promise<Socket> {
    const socket = connect(port, "127.0.0.1");
    clients.push(socket);
    await once(socket, "connect");
    // Resets are what some tests ask for.
    socket.on("error", () => undefined);
    return socket;
  }

  async function expectEcho(socket: Socket, text: string): Promise<void> {
    socket.write(text);
    let received = "";
    while (received.length < text.length) {
      const [chunk] = (await once(socket, "data")) as [Buffer];
      received += chunk.toString();
    }
    expect(received).to.equal(text);
  }

  beforeEach(async function () {
    socketsBefore = openSockets();
    relays = [];
    clients = [];
    echo = createServer((socket) => {
      clients.push(socket);
      socket.on("error", () => undefined);
      socket.pipe(socket);
    });
    await once(echo.listen(0, "127.0.0.1"), "listening");
    echoPort = (echo.address() as AddressInfo).port;
  });

  afterEach(async function () {
    for (const client of clients) client.destroy();
    for (const { relay } of relays) relay.stop();
    echo.close();
    await once(echo, "close");
    for (let i = 0; i < 200 && openSockets() > socketsBefore; i++) await delay(5);
    expect(openSockets()).to.equal(socketsBefore);
  });

  describe("carrying", function () {
    it("should carry connections over shared memory once two relays were introduced", async function () {
      const client = start();
      const server = start();
      introduce(client, server);
      await until(() => client.ready.length === 1 && server.ready.length === 1);
      const socket = await dial(listen(client, upstream()));
      await expectEcho(socket, "x".repeat(100_000));
      expect(client.counter("outbound_shm")).to.equal(1);
      expect(client.counter("outbound_tcp")).to.equal(0);
      expect(client.counter("bytes_to_shm")).to.equal(100_000);
      expect(server.counter("inbound_shm")).to.equal(1);
      expect(client.relay.counters().openLatency.buckets.reduce((a, b) => a + b)).to.equal(1);

      const [stream] = client.relay.streams();
      expect(stream).to.include({ direction: "outbound", transport: "shm", service: SERVICE });
      expect(stream).to.include({ pod: "server", bytesToPeer: 100_000 });
      const [session] = client.relay.sessions();
      expect(session).to.include({ id: "session", pod: "server", state: "ready", streams: 1 });
    });

    it("should ask for a session once, and carry the connection that waits for it", async function () {
      const client = start();
      const server = start();
      client.onNeeded = () => {
        introduce(client, server);
      };
      const port = listen(client, upstream());
      const sockets = await Promise.all([dial(port), dial(port)]);
      await Promise.all(sockets.map((socket, i) => expectEcho(socket, `hello ${i}`)));
      expect(client.needed).to.deep.equal(["server"]);
      expect(client.counter("outbound_shm")).to.equal(2);
    });

    for (const reason of ["other_node_no_fabric", "policy_denied"] as const) {
      it(`should carry over TCP and count the reason ${reason} of the endpoint`, async function () {
        const client = start();
        const socket = await dial(listen(client, upstream(reason)));
        await expectEcho(socket, "hello");
        const { fallbacks } = client.relay.counters();
        expect(fallbacks[reason]).to.equal(1);
        expect(Object.values(fallbacks).reduce((a, b) => a + b)).to.equal(1);
        expect(client.counter("outbound_tcp")).to.equal(1);
      });
    }

    it("should carry over TCP with the reason that failSession() gives", async function () {
      const client = start();
      client.onNeeded = (pod) => {
        client.relay.failSession(pod, "quota");
      };
      await expectEcho(await dial(listen(client, upstream())), "hello");
      expect(client.relay.counters().fallbacks.quota).to.equal(1);
    });

    it("should carry over TCP with reason agent_unavailable when nobody answers in time", async function () {
      const client = start({ openTimeoutMs: 30 });
      await expectEcho(await dial(listen(client, upstream())), "hello");
      expect(client.relay.counters().fallbacks.agent_unavailable).to.equal(1);
    });

    it("should use a new upstream for new connections", async function () {
      const client = start();
      const { id, port } = client.relay.listen({
        address: "127.0.0.1",
        port: 0,
        upstream: upstream("disabled"),
      });
      await expectEcho(await dial(port), "one");
      client.relay.setUpstream([id], upstream("policy_unknown"));
      await expectEcho(await dial(port), "two");
      expect(client.relay.counters().fallbacks).to.include({ disabled: 1, policy_unknown: 1 });
    });
  });

  describe("sessions", function () {
    it("should reset streams under a grant that is revoked", async function () {
      const client = start();
      const server = start();
      introduce(client, server);
      const socket = await dial(listen(client, upstream()));
      await expectEcho(socket, "hello");
      const closed = new Promise((resolve) => socket.once("close", resolve));
      server.relay.revoke("session", [{ service: SERVICE, port: echoPort }]);
      await closed;
      await until(() => server.relay.counters().ends.revoked === 1);
    });

    it("should go on with streams when a session is closed, and tell the peer", async function () {
      const client = start();
      const server = start();
      introduce(client, server);
      const socket = await dial(listen(client, upstream()));
      await expectEcho(socket, "hello");
      client.relay.closeSession("session");
      await until(() => server.ended.length === 1);
      expect(server.ended).to.deep.equal(["session peer_gone"]);
      await expectEcho(socket, "still there");
    });

    it("should do nothing for sessions that are over", function () {
      const { relay } = start();
      relay.closeSession("gone");
      relay.setGrants("gone", []);
      relay.revoke("gone", []);
    });

    it("should refuse an id in use and what is no session's descriptor, and close both", async function () {
      const { relay } = start();
      const [a, b] = socketPair();
      const session = { id: "s", side: "initiator" as const, peer: peerOf("p"), accept: [] };
      relay.addSession({ ...session, fd: a });
      expect(
        codeOf(() => {
          relay.addSession({ ...session, fd: b });
        }),
      ).to.equal("SHIMMY_ERR_SYSTEM");
      const file = new OwnedFd(openSync("/dev/null", "r"));
      expect(
        codeOf(() => {
          relay.addSession({ ...session, id: "t", fd: file });
        }),
      ).to.equal("SHIMMY_ERR_SYSTEM");
      expect(file.isClosed).to.equal(true);
      await delay(0);
    });
  });

  describe("#listen()", function () {
    it("should throw SHIMMY_ERR_ADDRESS_IN_USE for a port that is taken", function () {
      const { relay } = start();
      const options = { address: "127.0.0.1", port: echoPort, upstream: upstream() };
      expect(codeOf(() => relay.listen(options))).to.equal("SHIMMY_ERR_ADDRESS_IN_USE");
    });

    it("should throw SHIMMY_ERR_ADDRESS_NOT_AVAILABLE for an address that is not ours", function () {
      const { relay } = start();
      const options = { address: "192.0.2.1", port: 0, upstream: upstream() };
      expect(codeOf(() => relay.listen(options))).to.equal("SHIMMY_ERR_ADDRESS_NOT_AVAILABLE");
    });

    it("should refuse connections after unlisten()", async function () {
      const { relay } = start();
      const { id, port } = relay.listen({ address: "127.0.0.1", port: 0, upstream: upstream() });
      relay.unlisten(id);
      const socket = connect(port, "127.0.0.1");
      const [err] = (await once(socket, "error")) as [NodeJS.ErrnoException];
      expect(err.code).to.equal("ECONNREFUSED");
      expect(
        codeOf(() => {
          relay.unlisten(id);
        }),
      ).to.equal("SHIMMY_ERR_SYSTEM");
    });
  });

  describe("#drain()", function () {
    it("should wait for connections to end", async function () {
      const client = start();
      const socket = await dial(listen(client, upstream("disabled")));
      await expectEcho(socket, "hello");
      const drained = client.relay.drain(5000);
      socket.end();
      expect(await drained).to.deep.equal({ drained: 1, aborted: 0 });
    });

    it("should cut connections at the time-out", async function () {
      const client = start();
      const socket = await dial(listen(client, upstream("disabled")));
      await expectEcho(socket, "hello");
      expect(await client.relay.drain(30)).to.deep.equal({ drained: 0, aborted: 1 });
      expect(client.relay.counters().ends.drained).to.equal(1);
    });

    it("should reject with SHIMMY_ERR_CLOSED when the relay is stopped", async function () {
      const client = start();
      await expectEcho(await dial(listen(client, upstream("disabled"))), "hello");
      const drained = client.relay.drain(5000).catch((err: unknown) => err);
      client.relay.stop();
      expect(await drained).to.have.property("code", "SHIMMY_ERR_CLOSED");
    });
  });

  describe("#stop()", function () {
    it("should make every other method throw SHIMMY_ERR_CLOSED", function () {
      const { relay } = start();
      relay.stop();
      relay.stop();
      const calls: (() => unknown)[] = [
        () => relay.listen({ address: "127.0.0.1", port: 0, upstream: upstream() }),
        () => {
          relay.setDelivery([]);
        },
        () => relay.sessions(),
        () => relay.streams(),
        () => relay.counters(),
        () => relay.drain(1),
      ];
      for (const call of calls) expect(codeOf(call)).to.equal("SHIMMY_ERR_CLOSED");
    });

    for (const how of ["process.exit", "unref"]) {
      it(`should happen by itself when the process leaves by ${how} while bytes move`, async function () {
        const fixture = join(import.meta.dirname, "../fixtures/relay-exit.ts");
        const child = spawn(process.execPath, [fixture, how], { stdio: "inherit" });
        expect(await once(child, "close")).to.deep.equal([0, null]);
      });
    }

    it("should happen by itself when its worker is terminated", async function () {
      const worker = new Worker(join(import.meta.dirname, "../fixtures/relay-worker.ts"));
      const [port] = (await once(worker, "message")) as [number];
      // Without endpoints the relay resets it; the point is that its thread is at work.
      connect(port, "127.0.0.1").on("error", () => undefined);
      await worker.terminate();
      const refused = connect(port, "127.0.0.1");
      expect(await once(refused, "error")).to.have.nested.property("[0].code", "ECONNREFUSED");
    });
  });

  describe("checks", function () {
    for (const [name, value] of [
      ["threads", 0],
      ["threads", 65],
      ["spinMicros", -1],
      ["ringBudgetBytes", 1],
      ["maxRingBytes", 100_000],
      ["maxRingBytes", 2 ** 31],
      ["maxConnections", 0],
      ["openTimeoutMs", 1.5],
      ["idleTimeoutMs", NaN],
      ["unknownOption", 1],
    ] as const) {
      it(`should throw SHIMMY_ERR_INVALID_OPTION when ${name} is ${value}`, function () {
        expect(codeOf(() => start({ [name]: value }))).to.equal("SHIMMY_ERR_INVALID_OPTION");
      });
    }

    const endpoint = { pod: "p", address: "10.0.0.1", port: 80, transport: "tcp" as const };
    for (const [what, bad] of [
      ["tcp has no reason", { endpoints: [endpoint] }],
      ["shm has a reason", { endpoints: [{ ...endpoint, transport: "shm", reason: "quota" }] }],
      ["the reason is unknown", { endpoints: [{ ...endpoint, reason: "bored" }] }],
      ["an address is a name", { endpoints: [{ ...endpoint, address: "db", reason: "quota" }] }],
      ["a port is 0", { endpoints: [{ ...endpoint, port: 0, reason: "quota" }] }],
      ["the service has no namespace", { service: "echo" }],
      ["the Service's port is too large", { port: 65_536 }],
    ] as const) {
      it(`should throw SHIMMY_ERR_INVALID_OPTION when ${what}`, function () {
        const { relay } = start();
        const target = { service: SERVICE, port: 80, endpoints: [], ...bad } as RelayUpstream;
        expect(
          codeOf(() => relay.listen({ address: "127.0.0.1", port: 0, upstream: target })),
        ).to.equal("SHIMMY_ERR_INVALID_OPTION");
      });
    }
  });

  describe("native lists", function () {
    it("should have the reasons of common/reasons.ts in the same order", function () {
      const { fallbacks, ends, sessionEnds, names } = native().relayCounterLayout;
      expect(fallbacks).to.deep.equal(FALLBACK_REASONS);
      expect(ends).to.deep.equal(END_REASONS);
      expect(sessionEnds).to.deep.equal(SESSION_END_REASONS);
      expect(new Set(names).size).to.equal(names.length);
    });
  });
});
