import { expect } from "chai";

import type { ReportMessage } from "../../../agent/api.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { AgentClient } from "../../../sidecar/agent-client.ts";
import type { AgentSocket } from "../../../sidecar/native.ts";
import { SessionKeeper } from "../../../sidecar/session-keeper.ts";
import { FakeClock } from "../agent/fakes.ts";
import {
  captureLog,
  FakeAgentSocket,
  FakeFd,
  FakeNative,
  PEER,
  SELF,
  sessionMessage,
  settle,
  WELCOME,
} from "./fakes.ts";

const REPORT: ReportMessage = { type: "report", streams: [], fallbacks: {}, sessions: [] };

describe("AgentClient", function () {
  let sockets: FakeAgentSocket[];
  let isAgentThere: boolean;
  let clock: FakeClock;
  let native: FakeNative;
  let sessions: SessionKeeper;
  let heard: string[];
  let events: Record<string, unknown>[];
  let client: AgentClient;

  function connect(): Promise<AgentSocket> {
    if (!isAgentThere) return Promise.reject(new ShimmyError("SHIMMY_ERR_SYSTEM", "ENOENT"));
    const socket = new FakeAgentSocket();
    sockets.push(socket);
    return Promise.resolve(socket);
  }

  function lastSocket(): FakeAgentSocket {
    const socket = sockets.at(-1);
    if (socket === undefined) throw new Error("no connection");
    return socket;
  }

  async function pass(ms: number): Promise<void> {
    clock.advance(ms);
    await settle();
  }

  beforeEach(async function () {
    sockets = [];
    heard = [];
    isAgentThere = true;
    clock = new FakeClock();
    native = new FakeNative();
    const captured = captureLog();
    events = captured.events;
    const { log } = captured;
    sessions = new SessionKeeper({ relay: native.relay, native, clock, log });
    client = new AgentClient({
      connect,
      pod: SELF,
      services: ["default/web"],
      sessions,
      report: () => REPORT,
      onWelcome: ({ pod }) => heard.push(`welcome ${pod.uid}`),
      onEndpoints: (services) => heard.push(...services.map(({ service }) => service)),
      clock,
      log,
      random: () => 0.999,
    });
    client.start();
    await settle();
  });

  afterEach(function () {
    client.stop();
    sessions.stop();
    expect(clock.pending).to.equal(0);
  });

  it("should watch its services once it is welcome", function () {
    expect(client.status).to.deep.equal({ connected: false, connects: 0 });
    lastSocket().receive(WELCOME);
    expect(lastSocket().sent.map(({ type }) => type)).to.deep.equal(["hello", "watch"]);
    expect(lastSocket().ofType("watch")[0]?.services).to.deep.equal(["default/web"]);
    expect(client.status).to.deep.equal({ connected: true, connects: 1 });
    const endpoints = { service: "default/web", ports: [], endpoints: [] };
    lastSocket().receive({ type: "endpoints", services: [endpoints] });
    expect(heard).to.deep.equal([`welcome ${SELF.uid}`, "default/web"]);
  });

  it("should report every 2 s", async function () {
    lastSocket().receive(WELCOME);
    await pass(6000);
    expect(lastSocket().ofType("report")).to.have.length(3);
  });

  it("should pass on a second welcome without starting over", function () {
    lastSocket().receive(WELCOME);
    lastSocket().receive({ ...WELCOME, appPorts: [1] });
    expect(heard).to.have.length(2);
    expect(lastSocket().ofType("watch")).to.have.length(1);
  });

  it("should come back after each loss, later and later up to 5 s, and tell of it once", async function () {
    isAgentThere = false;
    lastSocket().end();
    const delays: number[] = [];
    for (let i = 0; i < 9; i++) {
      const start = clock.now();
      const before = events.length;
      while (events.length === before) await pass(10);
      delays.push(clock.now() - start);
    }
    expect(delays).to.deep.equal([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    const warnings = events.filter(({ level }) => level === "warn");
    expect(warnings.map(({ problem }) => problem)).to.deep.equal([
      "the agent closed the connection",
      "ENOENT",
    ]);
    expect(client.status).to.include({ connected: false, error: "ENOENT" });

    isAgentThere = true;
    await pass(5000);
    lastSocket().receive(WELCOME);
    expect(client.status).to.deep.equal({ connected: true, connects: 1 });
  });

  it("should be quick to come back after a long connection, slow after short ones", async function () {
    for (let i = 0; i < 4; i++) {
      lastSocket().receive(WELCOME);
      lastSocket().end();
      await pass(100 * 2 ** i);
    }
    expect(sockets).to.have.length(5);
    lastSocket().receive(WELCOME);
    await pass(5000);
    lastSocket().end();
    await pass(100);
    expect(sockets).to.have.length(6);
  });

  it("should show its sessions to the next agent", async function () {
    lastSocket().receive(WELCOME);
    lastSocket().receive(sessionMessage("s1"), [new FakeFd()]);
    lastSocket().end();
    await pass(100);
    lastSocket().receive(WELCOME);
    expect(lastSocket().sent.map(({ type }) => type)).to.deep.equal(["hello", "adopt", "watch"]);
    expect(lastSocket().sentFds).to.deep.equal(native.duplicates.map((fd) => fd.number));
  });

  it("should fail sessions that the relay wants while there is no agent", async function () {
    lastSocket().receive(WELCOME);
    sessions.need(PEER.uid);
    lastSocket().end();
    sessions.need("default.other");
    expect(native.relay.calls).to.deep.equal([
      ["failSession", PEER.uid, "agent_unavailable"],
      ["failSession", "default.other", "agent_unavailable"],
    ]);
    await pass(100);
  });

  it("should end a connection on which the agent breaks the contract, and try again", async function () {
    lastSocket().receive(WELCOME);
    lastSocket().receive(Buffer.from("nonsense"));
    expect(sockets[0]?.isClosed).to.equal(true);
    expect(client.status.connected).to.equal(false);
    await pass(100);
    expect(sockets).to.have.length(2);
  });

  it("should stop for good, in the midst of connecting too", async function () {
    lastSocket().end();
    clock.advance(100);
    client.stop();
    await settle();
    expect(sockets.map(({ isClosed }) => isClosed)).to.deep.equal([true, true]);
  });
});
