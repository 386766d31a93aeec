import { expect } from "chai";

import { PROTOCOL_VERSION, type AgentMessage } from "../../../agent/api.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { AgentConnection, type AgentEvents } from "../../../sidecar/agent-connection.ts";
import type { Fd } from "../../../sidecar/native.ts";
import { FakeClock } from "../agent/fakes.ts";
import {
  captureLog,
  FakeAgentSocket,
  FakeFd,
  PEER,
  SELF,
  sessionMessage,
  WELCOME,
} from "./fakes.ts";

/** Remembers what it is called with. */
class Recorder implements AgentEvents {
  readonly calls: [name: string, argument: unknown][] = [];
  readonly fds: (Fd | undefined)[] = [];

  get names(): string[] {
    return this.calls.map(([name]) => name);
  }

  onWelcome(message: unknown): void {
    this.calls.push(["welcome", message]);
  }
  onEndpoints(services: unknown): void {
    this.calls.push(["endpoints", services]);
  }
  onSession(message: unknown, fd: Fd | undefined): void {
    this.calls.push(["session", message]);
    this.fds.push(fd);
  }
  onSessionRefused(message: unknown): void {
    this.calls.push(["sessionRefused", message]);
  }
  onGrants(message: unknown): void {
    this.calls.push(["grants", message]);
  }
  onRevoke(message: unknown): void {
    this.calls.push(["revoke", message]);
  }
  onSessionClosed(session: string): void {
    this.calls.push(["sessionClosed", session]);
  }
  onEnd(error: ShimmyError | undefined): void {
    this.calls.push(["end", error?.code]);
  }
}

describe("AgentConnection", function () {
  let socket: FakeAgentSocket;
  let events: Recorder;
  let clock: FakeClock;
  let connection: AgentConnection;

  beforeEach(function () {
    socket = new FakeAgentSocket();
    events = new Recorder();
    clock = new FakeClock();
    connection = new AgentConnection(socket, { pod: SELF, clock, log: captureLog().log, events });
    connection.start();
  });

  it("should say hello first", function () {
    expect(socket.sent).to.deep.equal([
      {
        type: "hello",
        version: PROTOCOL_VERSION,
        pod: { namespace: "default", name: "client-1" },
        pid: process.pid,
        capabilities: { fdPassing: true },
      },
    ]);
  });

  it("should speak no newer version than it is told to", function () {
    const older = new FakeAgentSocket();
    const deps = { pod: SELF, clock, log: captureLog().log, events };
    new AgentConnection(older, { ...deps, newestVersion: 1 }).start();
    expect(older.sent[0]).to.include({ type: "hello", version: 1 });
    older.receive({ ...WELCOME, version: 2 });
    expect(events.calls).to.deep.equal([["end", "SHIMMY_ERR_VERSION_MISMATCH"]]);
  });

  it("should pass on every message after a welcome", function () {
    const messages: AgentMessage[] = [
      WELCOME,
      { type: "endpoints", services: [{ service: "default/web", ports: [], endpoints: [] }] },
      sessionMessage("s1", 1),
      { type: "sessionRefused", request: 2, pod: PEER.uid, reason: "quota", message: "full" },
      { type: "grants", session: "s1", accept: [], connect: [] },
      { type: "revoke", session: "s1", grants: [] },
      { type: "sessionClosed", session: "s1" },
    ];
    for (const message of messages) socket.receive(message);
    expect(events.names).to.deep.equal(messages.map(({ type }) => type));
    expect(connection.welcome).to.deep.equal(WELCOME);
  });

  it("should put the parts of a service's endpoints together", function () {
    socket.receive(WELCOME);
    const part = { service: "default/web", ports: [], endpoints: [] };
    socket.receive({ type: "endpoints", services: [{ ...part, more: true }] });
    socket.receive({ type: "endpoints", services: [part] });
    expect(events.calls.slice(1)).to.deep.equal([
      ["endpoints", []],
      ["endpoints", [part]],
    ]);
  });

  it("should end when there is no welcome in time", function () {
    clock.advance(5000);
    expect(events.calls).to.deep.equal([["end", "SHIMMY_ERR_TIMEOUT"]]);
    expect(socket.isClosed).to.equal(true);
  });

  // I1 and what else the agent may not say.
  const wrong: [name: string, messages: (AgentMessage | Buffer)[], code: string][] = [
    ["a session before welcome", [sessionMessage("s1")], "SHIMMY_ERR_PROTOCOL"],
    [
      "a version we do not speak",
      [{ ...WELCOME, version: PROTOCOL_VERSION + 1 }],
      "SHIMMY_ERR_VERSION_MISMATCH",
    ],
    ["a welcome for another pod", [{ ...WELCOME, pod: PEER }], "SHIMMY_ERR_NOT_ATTESTED"],
    [
      "a session with ourselves",
      [WELCOME, { ...sessionMessage("s1"), peer: SELF }],
      "SHIMMY_ERR_PROTOCOL",
    ],
    ["what is not JSON", [Buffer.from("{")], "SHIMMY_ERR_PROTOCOL"],
    ["a client's message", [Buffer.from('{"type":"watch","services":[]}')], "SHIMMY_ERR_PROTOCOL"],
    [
      "its reason to end",
      [{ type: "error", code: "SHIMMY_ERR_RATE_LIMITED", message: "too many" }],
      "SHIMMY_ERR_RATE_LIMITED",
    ],
  ];
  for (const [name, messages, code] of wrong) {
    it(`should end with ${code} on ${name}`, function () {
      for (const message of messages) socket.receive(message);
      expect(events.calls.at(-1)).to.deep.equal(["end", code]);
      expect(events.names).not.to.include("session");
      expect(socket.isClosed).to.equal(true);
    });
  }

  it("should hand on the descriptor of a session, and close all others (I2)", function () {
    socket.receive(WELCOME);
    const session = new FakeFd();
    socket.receive(sessionMessage("s1"), [session]);
    expect(events.fds).to.deep.equal([session]);
    expect(session.isOpen).to.equal(true);

    const stray = [new FakeFd(), new FakeFd()];
    socket.receive({ type: "sessionClosed", session: "s1" }, stray);
    expect(stray.map(({ isOpen }) => isOpen)).to.deep.equal([false, false]);
    expect(events.calls.at(-1)).to.deep.equal(["end", "SHIMMY_ERR_PROTOCOL"]);
  });

  it("should do nothing after its end (I3)", function () {
    socket.receive(WELCOME);
    socket.end();
    const late = new FakeFd();
    socket.receive(sessionMessage("s1"), [late]);
    expect(late.isOpen).to.equal(false);
    expect(connection.send({ type: "watch", services: [] })).to.equal(false);
    expect(events.names).to.deep.equal(["welcome", "end"]);
  });

  it("should call nobody back after close()", function () {
    connection.close();
    clock.advance(10_000);
    expect(events.calls).to.deep.equal([]);
  });

  it("should say when the kernel refuses a message", function () {
    socket.sendError = new ShimmyError("SHIMMY_ERR_SYSTEM", "ETOOMANYREFS");
    expect(connection.send({ type: "watch", services: [] })).to.equal(false);
    expect(events.calls).to.deep.equal([]);
  });
});
