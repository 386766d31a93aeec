import { expect } from "chai";

import type { HealthReply } from "../../../../agent/api.ts";
import type { TopSnapshot } from "../../../../cli/top/snapshot.ts";
import { renderTop } from "../../../../cli/top/view.ts";

const IDLE = { outbound: 0, inbound: 0, open: 0, bytesSent: 0, bytesReceived: 0 };
const POD = { namespace: "default", node: "n1", injected: true, services: [], appPorts: [] };

const HEALTH: HealthReply = {
  status: "ok",
  version: "1.2.3",
  node: "n1",
  uptimeSeconds: 130,
  catalog: { loadedAt: "", pods: 2, services: 1 },
  registry: { kind: "memory" },
  failedPods: [],
};

const SNAPSHOT: TopSnapshot = {
  takenAtMs: 10_000,
  agents: [HEALTH],
  names: { c: "default/client", w: "default/web", p: "default/plain" },
  pods: [
    { ...POD, uid: "c", name: "client", addresses: ["127.0.1.3"], connected: true, sessions: 1 },
    { ...POD, uid: "w", name: "web", addresses: ["127.0.1.2"], connected: false, sessions: 1 },
    {
      ...POD,
      uid: "p",
      name: "plain",
      addresses: ["127.0.1.4"],
      connected: false,
      injected: false,
      sessions: 0,
    },
  ],
  streams: [
    {
      pod: "c",
      peer: "w",
      service: "default/web",
      transport: "shm",
      direction: "out",
      open: 2,
      opened: 9,
      bytesSent: 2048,
      bytesReceived: 10,
    },
  ],
  sessions: [
    {
      id: "abcdefghijklmnop",
      initiator: "c",
      responder: "w",
      since: "",
      state: "open",
      initiatorGrants: [{ service: "default/web", port: 8080 }],
      responderGrants: [],
    },
  ],
  fallbacks: [{ pod: "w", reason: "quota", count: 4 }],
  traffic: [
    {
      pod: "default/client",
      shm: { ...IDLE, outbound: 9, open: 2, bytesSent: 2048 },
      tcp: { ...IDLE, outbound: 3 },
      failed: 0,
      fallbacks: { peer_not_injected: 3 },
    },
  ],
};

describe("renderTop()", function () {
  it("should show pods, streams and sessions by name", function () {
    expect(renderTop(SNAPSHOT)).to.deep.equal([
      "shimmy 1.2.3, node n1, agent ok for 2 min, 3 pods; sessions between them: 1",
      "",
      "POD             SIDECAR    OPEN SHM  TCP  EVER SHM  TCP  PER SECOND  FALLBACKS",
      "default/client  connected         2    0         9    3              peer_not_injected 3",
      "default/web     away                                                 quota 4",
      "default/plain   none",
      "",
      "POD                 PEER         SERVICE      TRANSPORT  OPEN  SEEN     SENT  RECEIVED",
      "default/client  to  default/web  default/web  shm           2     9  2.0 KiB      10 B",
      "",
      "SESSION       BETWEEN         AND          STATE  GRANTS",
      "abcdefghijkl  default/client  default/web  open   default/web:8080",
    ]);
  });

  it("should show bytes per second between two looks", function () {
    const before = { ...SNAPSHOT, takenAtMs: 8000, traffic: [] };
    expect(renderTop(SNAPSHOT, before)[3]).to.match(/ 3 {14}peer_not_injected/);
    const [client] = SNAPSHOT.traffic;
    if (client === undefined) throw new Error("no client");
    const idle = { ...before, traffic: [{ ...client, shm: IDLE }] };
    expect(renderTop(SNAPSHOT, idle)[3]).to.match(/1\.0 KiB {2}peer_not_injected 3$/);
  });

  it("should show each of several agents, and what they have together", function () {
    const agents = [HEALTH, { ...HEALTH, node: "n2" }];
    expect(renderTop({ ...SNAPSHOT, agents }).slice(0, 4)).to.deep.equal([
      "shimmy 1.2.3, node n1, agent ok for 2 min",
      "shimmy 1.2.3, node n2, agent ok for 2 min",
      "3 pods; sessions between them: 1",
      "",
    ]);
  });

  it("should name a peer that is not among the pods shown", function () {
    const pods = SNAPSHOT.pods.filter(({ uid }) => uid === "c");
    expect(renderTop({ ...SNAPSHOT, pods }).join("\n")).to.include("to  default/web");
  });

  it("should show what is wrong with the agent", function () {
    const health = {
      ...HEALTH,
      catalog: { ...HEALTH.catalog, error: "line 3: bad" },
      failedPods: [{ pod: "default/x", error: "too long" }],
    };
    expect(
      renderTop({ ...SNAPSHOT, agents: [health], streams: [], sessions: [] }),
    ).to.include.members(["catalog refused: line 3: bad", "no sockets for default/x: too long"]);
  });
});
