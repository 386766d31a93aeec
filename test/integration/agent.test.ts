import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { json } from "node:stream/consumers";

import { expect } from "chai";

import { encodeMessage, type SessionsReply } from "../../agent/api.ts";
import { ControlSocket, duplicateFd, type OwnedFd } from "../../shm-core/lib/control-socket.ts";
import { AgentProcess } from "../helpers/agent-process.ts";
import { skipBecause } from "../helpers/skip.ts";
import { TestSidecar } from "../helpers/test-sidecar.ts";
import { expectDocumented, expectDocumentedError, PLAIN_PATHS } from "../unit/agent/openapi.ts";

const NOBODY = 65_534;

const PODS = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
  - { name: shared, address: 127.0.1.3, runAs: [${NOBODY}] }
services:
  - { name: sb, ports: [{ name: http, port: 80, targetPort: 8080 }], pods: [b] }
`;
const DENIED = `${PODS}deny: [{ from: a, to: sb }]\n`;
const GRANT = { service: "default/sb", port: 8080 };

/** One side's end of a session, to see whether it lives. */
class SessionEnd {
  readonly fd: OwnedFd;
  readonly received: string[] = [];
  isClosed = false;
  readonly #socket: ControlSocket;
  #wake: () => void = () => undefined;

  constructor(fd: OwnedFd) {
    this.fd = duplicateFd(fd.number);
    this.#socket = ControlSocket.adopt(fd);
    this.#socket.onMessage = (data) => {
      this.received.push(data.toString());
      this.#wake();
    };
    this.#socket.onClose = () => {
      this.isClosed = true;
      this.#wake();
    };
  }

  say(word: string): void {
    this.#socket.send(Buffer.from(word));
  }

  async heard(count: number): Promise<string[]> {
    while (this.received.length < count && !this.isClosed) await this.#changed();
    return this.received;
  }

  async closed(): Promise<void> {
    while (!this.isClosed) await this.#changed();
  }

  close(): void {
    this.#socket.close();
    this.fd.close();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

describe("agent", function () {
  this.timeout(20_000);
  let agent: AgentProcess;
  let toClose: { close(): void }[];

  async function connect(name: string): Promise<TestSidecar> {
    const sidecar = await TestSidecar.hello(agent.podDirectory(name), name);
    toClose.push(sidecar);
    return sidecar;
  }

  async function connectMute(name: string): Promise<TestSidecar> {
    const sidecar = await TestSidecar.connect(agent.podDirectory(name));
    toClose.push(sidecar);
    return sidecar;
  }

  function endOf(fds: readonly OwnedFd[]): SessionEnd {
    const [fd] = fds;
    if (fd === undefined) throw new Error("no descriptor");
    const end = new SessionEnd(fd);
    toClose.push(end);
    return end;
  }

  async function openSession(
    a: TestSidecar,
    b: TestSidecar,
  ): Promise<{ id: string; endA: SessionEnd; endB: SessionEnd }> {
    a.send({ type: "openSession", request: 1, pod: "default.b" });
    const [atA, atB] = await Promise.all([a.next("session"), b.next("session")]);
    expect(atB.message.session).to.equal(atA.message.session);
    return { id: atA.message.session, endA: endOf(atA.fds), endB: endOf(atB.fds) };
  }

  async function expectAlive(one: SessionEnd, other: SessionEnd): Promise<void> {
    const before = other.received.length;
    one.say("hello?");
    expect((await other.heard(before + 1)).at(-1)).to.equal("hello?");
  }

  async function sessions(): Promise<SessionsReply["sessions"]> {
    const { body } = await agent.get("/v1/sessions");
    return (JSON.parse(body) as SessionsReply).sessions;
  }

  beforeEach(async function () {
    toClose = [];
    agent = new AgentProcess(PODS);
    await agent.start();
  });

  afterEach(async function () {
    for (const each of toClose) each.close();
    await agent.close();
  });

  describe("sessions", function () {
    it("should connect two sidecars directly", async function () {
      const [a, b] = [await connect("a"), await connect("b")];
      const { endA, endB } = await openSession(a, b);
      await expectAlive(endA, endB);
      await expectAlive(endB, endA);
      expect(await sessions()).to.have.length(1);
    });

    it("should let a side see at once that the other died, whichever asked for it", async function () {
      for (const dying of ["a", "b"]) {
        const [a, b] = [await connect("a"), await connect("b")];
        const { endA, endB } = await openSession(a, b);
        const [dead, deadEnd, left] = dying === "a" ? [a, endA, endB] : [b, endB, endA];
        dead.close();
        deadEnd.close();
        await left.closed();
        a.close();
        b.close();
      }
    });

    it("should be revoked, and shut down for both, when policy takes the last grant back", async function () {
      const [a, b] = [await connect("a"), await connect("b")];
      const { id, endA, endB } = await openSession(a, b);
      agent.writeCatalog(DENIED);
      const { message } = await a.next("revoke");
      expect(message).to.deep.equal({ type: "revoke", session: id, grants: [GRANT] });
      expect(endA.isClosed).to.equal(false);
      await b.next("revoke");
      await Promise.all([endA.closed(), endB.closed()]);
      await a.next("sessionClosed");
      expect(await sessions()).to.deep.equal([]);
    });

    it("should not leave descriptors behind", async function () {
      const b = await connect("b");
      const before = agent.openFds;
      for (let i = 0; i < 50; i++) {
        const a = await connect("a");
        const { endA, endB } = await openSession(a, b);
        a.close();
        endA.close();
        endB.close();
      }
      await agent.get("/v1/health");
      while (agent.openFds > before) await new Promise((resolve) => setTimeout(resolve, 20));
    });
  });

  describe("restart", function () {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      it(`should leave sessions alone on ${signal}, and take them over again`, async function () {
        const [a, b] = [await connect("a"), await connect("b")];
        const { id, endA, endB } = await openSession(a, b);
        await agent.stop(signal);
        expect(existsSync(agent.podDirectory("a"))).to.equal(signal === "SIGKILL");
        await Promise.all([a.ended(), b.ended()]);
        await expectAlive(endA, endB);

        await agent.start();
        const [a2, b2] = [await connect("a"), await connect("b")];
        const held = [GRANT];
        a2.send({ type: "adopt", session: id, peer: "default.b", side: "initiator", held }, [
          endA.fd.number,
        ]);
        b2.send({ type: "adopt", session: id, peer: "default.a", side: "responder", held }, [
          endB.fd.number,
        ]);
        const { message } = await a2.next("grants");
        expect(message).to.deep.equal({
          type: "grants",
          session: id,
          accept: [],
          connect: [GRANT],
        });
        await b2.next("grants");
        await expectAlive(endB, endA);
        expect(await sessions()).to.have.length(1);

        // The duplicate that was adopted is good for revocation.
        agent.writeCatalog(DENIED);
        await a2.next("revoke");
        await Promise.all([endA.closed(), endB.closed()]);
      });
    }

    it("should revoke a session that was granted before and is not now", async function () {
      const [a, b] = [await connect("a"), await connect("b")];
      const { id, endA, endB } = await openSession(a, b);
      await agent.stop("SIGKILL");
      agent.writeCatalog(DENIED);
      await agent.start();
      const again = await connect("a");
      again.send(
        { type: "adopt", session: id, peer: "default.b", side: "initiator", held: [GRANT] },
        [endA.fd.number],
      );
      expect((await again.next("revoke")).message.grants).to.deep.equal([GRANT]);
      await again.next("sessionClosed");
      await Promise.all([endA.closed(), endB.closed()]);
    });

    it("should refuse a second agent on the same directory, and go on", async function () {
      const child = agent.spawn();
      const [code] = (await once(child, "exit")) as [number];
      expect(code).to.equal(1);
      const { err } = (await agent.logged("agent not started")) as unknown as {
        err: { code: string };
      };
      expect(err.code).to.equal("SHIMMY_ERR_ADDRESS_IN_USE");
      await connect("a");
      expect((await agent.get("/v1/health", "a")).status).to.equal(200);
    });
  });

  describe("catalog", function () {
    it("should open and close sockets as pods come and go", async function () {
      const a = await connect("a");
      agent.writeCatalog(PODS.replace("name: a,", "name: late,"));
      await a.ended();
      while (!existsSync(join(agent.podDirectory("late"), "fd.sock"))) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await connect("late");
      expect(existsSync(agent.podDirectory("a"))).to.equal(false);
    });

    it("should go on with the catalog before a bad one, and say so in health", async function () {
      agent.writeCatalog("pods: 3");
      await agent.logged("catalog refused, the one before stays");
      const { body } = await agent.get("/v1/health");
      const health = JSON.parse(body) as { status: string; catalog: { error: string } };
      expectDocumented("/v1/health", health);
      expect(health.status).to.equal("degraded");
      expect(health.catalog.error).to.match(/catalog.yaml:1: pods: must be array, got 3$/);
      await connect("a");
    });
  });

  describe("attestation", function () {
    interface Answers {
      readonly fd: object;
      readonly api: object;
    }

    async function connectAs(uid: number, pod: string, name: string): Promise<Answers> {
      const script = join(import.meta.dirname, "../fixtures/connect-as-user.ts");
      const child = spawn(process.execPath, [script, agent.podDirectory(pod), name], {
        stdio: ["ignore", "pipe", "inherit"],
        uid,
        gid: uid,
      });
      return (await json(child.stdout)) as Answers;
    }

    before(function () {
      if (process.getuid?.() !== 0) skipBecause(this, "needs root to become another user");
    });

    it("should accept a user that the catalog names", async function () {
      const { fd, api } = await connectAs(NOBODY, "shared", "shared");
      expect(fd).to.include({ type: "welcome" });
      expect(api)
        .to.include({ status: 200 })
        .and.have.nested.property("body.pod.uid", "default.shared");
    });

    it("should refuse another user, who can connect, on both sockets", async function () {
      const { fd, api } = await connectAs(NOBODY - 1, "shared", "shared");
      expect(fd).to.include({ type: "error", code: "SHIMMY_ERR_NOT_ATTESTED" });
      expect(api)
        .to.include({ status: 403 })
        .and.have.nested.property("body.code", "SHIMMY_ERR_NOT_ATTESTED");
    });

    it("should refuse root where the catalog does not name it", async function () {
      const { fd, api } = await connectAs(0, "shared", "shared");
      expect(fd).to.include({ type: "error", code: "SHIMMY_ERR_NOT_ATTESTED" });
      expect(api).to.include({ status: 403 });
    });

    it("should refuse a user of one pod that says it is another", async function () {
      const { fd } = await connectAs(NOBODY, "shared", "a");
      expect(fd).to.include({ type: "error", code: "SHIMMY_ERR_NOT_ATTESTED" });
    });

    it("should let nobody else near the sockets of a pod of its own user", async function () {
      const { fd, api } = await connectAs(NOBODY, "a", "a");
      expect(fd).to.deep.equal({ failed: "EACCES" });
      expect(api).to.deep.equal({ failed: "EACCES" });
    });
  });

  describe("hostile clients", function () {
    it("should be told what was wrong before the connection is closed", async function () {
      const records = [
        Buffer.from("rubbish"),
        Buffer.alloc(65_536, "["),
        Buffer.from('{"type":"watch","services":[]}'),
      ];
      for (const record of records) {
        const sidecar = await connectMute("a");
        sidecar.read();
        sidecar.sendBytes(record);
        expect((await sidecar.next("error")).message.code).to.equal("SHIMMY_ERR_PROTOCOL");
        await sidecar.ended();
      }
    });

    it("should be cut off by a flood, with memory bounded and others served", async function () {
      const b = await connect("b");
      const before = agent.residentBytes;
      const filler = "x".repeat(60_000);
      const record = Buffer.from(`{"type":"watch","services":[],"filler":"${filler}"}`);
      const flood = await connect("a");
      await flood.flood(record, 20_000);
      expect((await flood.next("error")).message.code).to.equal("SHIMMY_ERR_RATE_LIMITED");
      expect(agent.residentBytes - before).to.be.below(128 * 1024 * 1024);
      b.send({ type: "watch", services: ["default/sb"] });
      await b.next("endpoints");
    });

    it("should be cut off when they never read, and others served", async function () {
      const slow = await connectMute("a");
      slow.sayHello("a");
      const event = agent.logged("client connection failed");
      const question = { type: "openSession", request: 1, pod: "u".repeat(190) } as const;
      await slow.flood(encodeMessage(question), 4000);
      expect((await event).code).to.equal("SHIMMY_ERR_SLOW_READER");
      await connect("b");
    });

    it("should have descriptors closed that they stuff into messages", async function () {
      const sidecar = await connect("a");
      const before = agent.openFds;
      sidecar.sendBytes(Buffer.from('{"type":"watch","services":[]}'), [0, 1, 2, 0, 1, 2, 0, 1]);
      await sidecar.next("error");
      await sidecar.ended();
      while (agent.openFds >= before) await new Promise((resolve) => setTimeout(resolve, 20));
    });

    it("should not pass anything but a socket off as that of a session", async function () {
      const a = await connect("a");
      a.send(
        { type: "adopt", session: "fake", peer: "default.b", side: "initiator", held: [] },
        [0],
      );
      expect((await a.next("sessionClosed")).message.session).to.equal("fake");
      expect(await sessions()).to.deep.equal([]);
    });

    it("should not hold more than their share of connections", async function () {
      const sidecars = await Promise.all(Array.from({ length: 40 }, () => connectMute("a")));
      for (const sidecar of sidecars) sidecar.read();
      await Promise.all(sidecars.slice(32).map((sidecar) => sidecar.ended()));
      expect(sidecars.filter(({ end }) => end === undefined)).to.have.length(32);
      await connect("b");
    });

    it("should not be two sidecars of one pod: the newer one is", async function () {
      const first = await connect("a");
      const second = await connect("a");
      expect((await first.next("error")).message.code).to.equal("SHIMMY_ERR_SUPERSEDED");
      await first.ended();
      const b = await connect("b");
      await openSession(second, b);
    });
  });

  describe("REST", function () {
    it("should answer every path as it is documented, on both sockets", async function () {
      const [a, b] = [await connect("a"), await connect("b")];
      const { id } = await openSession(a, b);
      const stream = {
        peer: "default.b",
        service: "default/sb",
        transport: "shm",
        direction: "out",
        open: 1,
        opened: 1,
        bytesSent: 10,
        bytesReceived: 20,
      } as const;
      a.send({ type: "report", streams: [stream], fallbacks: { quota: 2 }, sessions: [id] });
      for (const path of PLAIN_PATHS) {
        for (const pod of ["a", undefined]) {
          const { status, body } = await agent.get(path, pod);
          expect(status, path).to.equal(200);
          expectDocumented(path, JSON.parse(body));
        }
      }
      expect((await agent.get("/v1/streams")).body).to.include('"bytesReceived":20');
      expect((await agent.get("/v1/fallbacks", "a")).body).to.include('"reason":"quota","count":2');
      expect((await agent.get("/v1/streams", "b")).body).to.equal('{"streams":[]}');
    });

    it("should answer errors as they are documented", async function () {
      const { status, body } = await agent.get("/v2", "a");
      expect(status).to.equal(404);
      expectDocumentedError(JSON.parse(body));
    });

    it("should show metrics on the node-wide socket only", async function () {
      await connect("a");
      const { body } = await agent.get("/metrics");
      expect(body).to.include("shimmy_agent_sidecars 1");
      expect((await agent.get("/metrics", "a")).status).to.equal(404);
    });

    it("should hold a pod to its rate", async function () {
      const replies = await Promise.all(
        Array.from({ length: 10 }, async () => {
          const statuses: (number | undefined)[] = [];
          for (let i = 0; i < 20; i++) statuses.push((await agent.get("/v1/health", "a")).status);
          return statuses;
        }),
      );
      expect(replies.flat()).to.include(429);
      expect((await agent.get("/v1/health", "b")).status).to.equal(200);
    });
  });
});
