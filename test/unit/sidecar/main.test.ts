import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import type { AgentMessage } from "../../../agent/api.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { statusError } from "../../../shm-core/lib/status.ts";
import { resolveSidecarConfig } from "../../../sidecar/env.ts";
import { isNodeRoot, type RunningSidecar, runSidecar } from "../../../sidecar/main.ts";
import type {
  ReadyReply,
  SessionsReply,
  StatusReply,
  StreamsReply,
} from "../../../sidecar/status.ts";
import { FakeClock } from "../agent/fakes.ts";
import {
  captureLog,
  FakeAgentSocket,
  FakeFd,
  FakeNative,
  PEER,
  SELF,
  sessionMessage,
  WELCOME,
} from "./fakes.ts";

const EADDRINUSE = -98;
const WEB_ENDPOINTS: AgentMessage = {
  type: "endpoints",
  services: [{ service: "default/web", ports: [], endpoints: [] }],
};

describe("runSidecar()", function () {
  let agentDir: string;
  let native: FakeNative;
  let clock: FakeClock;
  let running: RunningSidecar[];

  beforeEach(function () {
    agentDir = mkdtempSync(join(tmpdir(), "shimmy-sidecar-"));
    native = new FakeNative();
    clock = new FakeClock();
    running = [];
  });

  afterEach(async function () {
    for (const sidecar of running) await sidecar.abort();
    expect(clock.pending).to.equal(0);
    rmSync(agentDir, { recursive: true });
  });

  async function start(env: Record<string, string> = {}): Promise<RunningSidecar> {
    const config = resolveSidecarConfig({
      env: {
        SHIMMY_POD: "default/client-1",
        SHIMMY_AGENT_DIR: agentDir,
        SHIMMY_ADMIN_ADDRESS: "127.0.0.1:0",
        SHIMMY_UPSTREAMS: "web:9001",
        ...env,
      },
    });
    const sidecar = await runSidecar({ config, log: captureLog().log, native, clock });
    running.push(sidecar);
    return sidecar;
  }

  /** Starts one with an agent that has said welcome, and what else is given. */
  async function startWithAgent(
    env?: Record<string, string>,
    messages: readonly AgentMessage[] = [WEB_ENDPOINTS],
  ): Promise<RunningSidecar> {
    const socket = new FakeAgentSocket();
    native.socket = socket;
    const sidecar = await start(env);
    while (socket.sent.length === 0) await new Promise((resolve) => setImmediate(resolve));
    socket.receive(WELCOME);
    for (const message of messages) socket.receive(message);
    return sidecar;
  }

  function fetchFrom({ admin }: RunningSidecar, path: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${admin.port}${path}`);
  }

  async function read<T>(sidecar: RunningSidecar, path: string): Promise<T> {
    return (await (await fetchFrom(sidecar, path)).json()) as T;
  }

  it("should be ready once the agent has said who it is and where its upstreams are", async function () {
    const sidecar = await start();
    const early = await fetchFrom(sidecar, "/readyz");
    expect(early.status).to.equal(503);
    const expected: ReadyReply = { ready: false, reason: "waiting for the agent" };
    expect(await early.json()).to.deep.equal(expected);
    expect((await fetchFrom(sidecar, "/healthz")).status).to.equal(200);
  });

  it("should not be ready while connections to an upstream would be refused", async function () {
    const sidecar = await startWithAgent({}, []);
    const expected: ReadyReply = { ready: false, reason: "waiting for endpoints" };
    expect(await read<ReadyReply>(sidecar, "/readyz")).to.deep.equal(expected);
    native.socket?.receive(WEB_ENDPOINTS);
    expect((await fetchFrom(sidecar, "/readyz")).status).to.equal(200);
  });

  it("should be ready after 2 s though the agent has not named the endpoints", async function () {
    const sidecar = await startWithAgent({}, []);
    clock.advance(2000);
    expect((await fetchFrom(sidecar, "/readyz")).status).to.equal(200);
  });

  it("should be ready without an agent after 2 s, and say why upstreams are refused", async function () {
    const sidecar = await start();
    clock.advance(2000);
    expect((await fetchFrom(sidecar, "/readyz")).status).to.equal(200);
    const { upstreams, agent } = await read<StatusReply>(sidecar, "/v1/status");
    expect(agent.connected).to.equal(false);
    expect(upstreams[0]?.problem).to.equal("the agent cannot be reached, and alone knows the pods");
  });

  it("should deliver to the ports that the agent names", async function () {
    const sidecar = await startWithAgent();
    expect((await fetchFrom(sidecar, "/readyz")).status).to.equal(200);
    expect(native.relay.delivery).to.deep.equal([{ port: 8080, address: "127.0.1.2" }]);
    expect(sidecar.status().pod).to.deep.equal(SELF);
  });

  it("should deliver to what is configured rather than to that", async function () {
    await startWithAgent({ SHIMMY_APP_ADDRESS: "127.0.0.1", SHIMMY_APP_PORTS: "1,2" });
    expect(native.relay.delivery).to.deep.equal([
      { port: 1, address: "127.0.0.1" },
      { port: 2, address: "127.0.0.1" },
    ]);
  });

  it("should hand sessions from the agent to the relay, and show them", async function () {
    const sidecar = await startWithAgent();
    native.events?.onSessionNeeded(PEER.uid);
    expect(native.socket?.ofType("openSession")[0]?.pod).to.equal(PEER.uid);
    native.socket?.receive(sessionMessage("s1", 1), [new FakeFd()]);
    native.events?.onSessionReady("s1");
    const { sessions } = await read<SessionsReply>(sidecar, "/v1/sessions");
    expect(sessions.map(({ id, peer }) => [id, peer.uid])).to.deep.equal([["s1", PEER.uid]]);
    native.events?.onSessionEnded("s1", "peer_gone");
    expect(native.socket?.ofType("sessionEnded")[0]?.reason).to.equal("peer_gone");
  });

  it("should answer with streams up to a limit", async function () {
    const sidecar = await start();
    native.relay.values = { active_shm: 2, active_tcp: 1 };
    expect(await read<StreamsReply>(sidecar, "/v1/streams?limit=5")).to.deep.equal({
      streams: [],
      open: 3,
    });
    for (const limit of ["0", "10001", "x", "-1", ""]) {
      const reply = await fetchFrom(sidecar, `/v1/streams?limit=${limit}`);
      expect(reply.status).to.equal(400);
    }
  });

  it("should have the paths that docs/reference/admin.md lists, and no other", async function () {
    const page = readFileSync(join(PACKAGE_ROOT, "docs/reference/admin.md"), "utf8");
    const text = page.slice(0, page.indexOf("# Admin address of an agent"));
    const documented = [...text.matchAll(/^\| `(\/[^`]*)`/gm)].map(([, path]) => path);
    const { message } = await read<{ message: string }>(await start(), "/");
    expect(message).to.equal(`no such path, there are ${documented.join(" ")}`);
  });

  it("should give the relay its settings", async function () {
    await start({ SHIMMY_RING_BUDGET: "2Mi", SHIMMY_SPIN_MICROS: "0", SHIMMY_OPEN_TIMEOUT: "2s" });
    expect(native.relayOptions).to.deep.equal({
      threads: 1,
      spinMicros: 0,
      ringBudgetBytes: 2 * 1024 ** 2,
      maxRingBytes: 1024 ** 2,
      maxConnections: 10_000,
      maxStreamsPerPeer: 10_000,
      openTimeoutMs: 2000,
      connectTimeoutMs: 5000,
      idleTimeoutMs: 0,
    });
  });

  it("should not be ready while it drains, and stop when that is over", async function () {
    const sidecar = await startWithAgent({ SHIMMY_DRAIN_TIMEOUT: "3s" });
    const closed = sidecar.close();
    expect(await read<ReadyReply>(sidecar, "/readyz")).to.deep.equal({
      ready: false,
      reason: "draining",
    });
    expect(native.relay.calls.at(-1)).to.deep.equal(["drain", 3000]);
    expect(native.relay.isStopped).to.equal(false);
    expect(sidecar.close()).to.equal(closed);
    native.relay.drained.resolve({ drained: 1, aborted: 2 });
    expect(await closed).to.deep.equal({ drained: 1, aborted: 2 });
    expect(native.relay.isStopped).to.equal(true);
    expect(native.socket?.isClosed).to.equal(true);
    const refused: unknown = await fetchFrom(sidecar, "/healthz").catch((err: unknown) => err);
    expect(refused).to.be.an("error");
  });

  it("should leave nothing behind when a port is taken", async function () {
    native.relay.refuse = () => statusError(EADDRINUSE, "listen on 127.0.0.1 port 9001");
    const err: unknown = await start().catch((caught: unknown) => caught);
    expect(err).to.have.property("code", "SHIMMY_ERR_ADDRESS_IN_USE");
    expect(native.relay.isStopped).to.equal(true);
  });

  it("should leave nothing behind when the admin address is taken", async function () {
    const first = await start();
    native = new FakeNative();
    const address = `127.0.0.1:${first.admin.port}`;
    const err: unknown = await start({ SHIMMY_ADMIN_ADDRESS: address }).catch(
      (caught: unknown) => caught,
    );
    expect(err).to.have.property("code", "SHIMMY_ERR_ADDRESS_IN_USE");
    expect(native.relay.isStopped).to.equal(true);
  });

  it("should not believe an agent that is somebody else", async function () {
    const socket = new FakeAgentSocket();
    Object.assign(socket, { agentUid: 54_321 });
    native.socket = socket;
    const sidecar = await start();
    while (sidecar.status().agent.error === undefined) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(sidecar.status().agent.error).to.match(/^user 54321 serves .*, which belongs to user/);
    expect(socket.sent).to.deep.equal([]);
    expect(socket.isClosed).to.equal(true);
  });

  const squatters = [
    { who: "process 7 of this container", agentPid: 7, agentUid: 0 },
    { who: "user 1000", agentPid: 0, agentUid: 1000 },
  ];
  for (const { who, ...peer } of squatters) {
    it(`should not take ${who} for the agent in the pod's network namespace`, async function () {
      const socket = new FakeAgentSocket();
      Object.assign(socket, peer);
      native.socket = socket;
      const sidecar = await start({ SHIMMY_AGENT_DIR: "@shimmy" });
      while (sidecar.status().agent.error === undefined) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(native.connectedTo).to.equal("\0shimmy/fd");
      expect(sidecar.status().agent.error).to.equal(
        `${who} listens on @shimmy/fd, which is the agent's`,
      );
      expect(socket.sent).to.deep.equal([]);
      expect(socket.isClosed).to.equal(true);
    });
  }

  const ALL_USERS = "         0          0 4294967295\n";
  const OWN_USERS = "         0     100000      65536\n";
  const peers = [
    { agentPid: 0, agentUid: 0, uidMap: ALL_USERS, isTaken: true },
    { agentPid: 0, agentUid: 0, uidMap: OWN_USERS, isTaken: true },
    { agentPid: 0, agentUid: 65_534, uidMap: OWN_USERS, isTaken: true },
    { agentPid: 0, agentUid: 65_534, uidMap: ALL_USERS, isTaken: false },
    { agentPid: 0, agentUid: 65_532, uidMap: OWN_USERS, isTaken: false },
    { agentPid: 1, agentUid: 0, uidMap: OWN_USERS, isTaken: false },
  ];
  for (const { uidMap, isTaken, ...peer } of peers) {
    const { agentPid, agentUid } = peer;
    const users = uidMap === ALL_USERS ? "all users" : "users of its own";
    it(`should ${isTaken ? "" : "not "}take user ${agentUid}, process ${agentPid}, for root of the node in a pod with ${users}`, function () {
      expect(isNodeRoot(peer, uidMap)).to.equal(isTaken);
    });
  }

  it("should take root outside the container for it", async function () {
    const sidecar = await startWithAgent({ SHIMMY_AGENT_DIR: "@shimmy" });
    expect(native.connectedTo).to.equal("\0shimmy/fd");
    expect(sidecar.status().agent.connected).to.equal(true);
  });
});
