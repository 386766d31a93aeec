import { expect } from "chai";

import type {
  FallbacksReply,
  HealthReply,
  PeersReply,
  PodsReply,
  ReportMessage,
  SessionsReply,
  StreamsReply,
  WhoamiReply,
} from "../../../agent/api.ts";
import { Broker } from "../../../agent/broker.ts";
import type { Catalog } from "../../../agent/catalog.ts";
import { addAgentGauges, createAgentMetrics } from "../../../agent/metrics.ts";
import { DEFAULT_QUOTAS } from "../../../agent/quotas.ts";
import {
  createAdminRoutes,
  createRoutes,
  withMetrics,
  type RouteDeps,
} from "../../../agent/routes.ts";
import { FALLBACK_REASONS } from "../../../common/reasons.ts";
import { catalogOf, channelBroker, FakeClock, FakeMember, FakeNative, silentLog } from "./fakes.ts";
import { expectDocumented, OPENAPI, PLAIN_PATHS } from "./openapi.ts";

const CATALOG = catalogOf(`
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2, injected: false }
  - { name: c, address: 127.0.1.3 }
  - { name: far, address: 10.0.0.1, node: there }
  - { name: x, namespace: other, address: 127.0.1.4 }
  - { name: y, namespace: other, address: 127.0.1.5 }
services:
  - { name: sc, ports: [{ port: 80, targetPort: 8080 }], pods: [c, b, far] }
connections: [{ from: other/x, to: sc }]
`);

const REPORT: ReportMessage = {
  type: "report",
  streams: [
    {
      peer: "default.c",
      service: "default/sc",
      transport: "shm",
      direction: "out",
      open: 1,
      opened: 2,
      bytesSent: 3,
      bytesReceived: 4,
    },
  ],
  fallbacks: { quota: 5, disabled: 1 },
  sessions: [],
};

const HEALTH: HealthReply = {
  status: "degraded",
  version: "1.2.3",
  node: "here",
  uptimeSeconds: 4,
  catalog: {
    loadedAt: new Date(0).toISOString(),
    pods: 6,
    services: 1,
    error: "catalog.yaml:1: no",
  },
  registry: { kind: "redis", problem: "no answer in 1000 ms" },
  failedPods: [{ pod: "default.a", error: "path too long" }],
};

describe("createRoutes()", function () {
  let broker: Broker;
  let deps: RouteDeps;

  function get(path: string, pod?: string): unknown {
    const reply = createRoutes(deps, pod)(path);
    if (reply === undefined) throw new Error(`no route ${path}`);
    expect(reply.contentType).to.equal("application/json");
    const value: unknown = JSON.parse(reply.body);
    expectDocumented(path, value);
    return value;
  }

  beforeEach(function () {
    broker = new Broker(CATALOG, {
      native: new FakeNative(),
      clock: new FakeClock(),
      quotas: DEFAULT_QUOTAS,
      metrics: createAgentMetrics(),
      log: silentLog(),
    });
    const a = new FakeMember("default.a");
    broker.join(a);
    broker.join(new FakeMember("default.c"));
    broker.open(a, 1, "default.c");
    deps = {
      broker,
      channels: channelBroker(CATALOG),
      catalog: () => CATALOG,
      health: () => HEALTH,
      reportOf: (pod) => (pod === "default.a" ? REPORT : undefined),
    };
  });

  afterEach(function () {
    broker.stop();
  });

  for (const path of PLAIN_PATHS) {
    it(`should answer ${path} as it is documented, for a pod and for the node`, function () {
      get(path, "default.a");
      get(path);
    });
  }

  it("should have no path that is not documented", function () {
    expect(createRoutes(deps)("/v1")).to.equal(undefined);
    expect(createRoutes(deps)("/metrics")).to.equal(undefined);
  });

  it("should say who the pod is", function () {
    const { scope, pod } = get("/v1/whoami", "default.a") as WhoamiReply;
    expect(scope).to.equal("pod");
    expect(pod).to.include({ uid: "default.a", connected: true, sessions: 1 });
    expect(get("/v1/whoami")).to.deep.equal({ scope: "node", node: "here" });
  });

  it("should tell a pod of itself only, and the node of its own pods", function () {
    const uids = (reply: unknown): string[] => (reply as PodsReply).pods.map(({ uid }) => uid);
    expect(uids(get("/v1/pods", "default.b"))).to.deep.equal(["default.b"]);
    expect(uids(get("/v1/pods"))).to.deep.equal([
      "default.a",
      "default.b",
      "default.c",
      "other.x",
      "other.y",
    ]);
  });

  it("should tell how peers are reached, and why not by shared memory", function () {
    const { peers } = get("/v1/peers", "default.a") as PeersReply;
    expect(peers.map(({ peer, transport, reason }) => [peer.uid, transport, reason])).to.deep.equal(
      [
        ["default.b", "tcp", "peer_not_injected"],
        ["default.c", "shm", undefined],
        ["default.far", "tcp", "other_node_no_fabric"],
      ],
    );
  });

  it("should show pods of other namespaces only where something is granted", function () {
    const peersOf = (pod: string): string[] =>
      (get("/v1/peers", pod) as PeersReply).peers.map(({ peer }) => peer.uid);
    expect(peersOf("other.x")).to.deep.equal(["default.c", "other.y"]);
    expect(peersOf("default.c")).to.include("other.x").and.not.include("other.y");
  });

  it("should show each session once, with the grants of both directions", function () {
    const { sessions } = get("/v1/sessions") as SessionsReply;
    expect(sessions).to.have.length(1);
    expect(sessions[0]).to.deep.include({
      initiator: "default.a",
      responder: "default.c",
      state: "open",
      initiatorGrants: [{ service: "default/sc", port: 8080 }],
      responderGrants: [],
    });
    expect((get("/v1/sessions", "other.x") as SessionsReply).sessions).to.deep.equal([]);
  });

  it("should show a session that one side alone has shown as half", function () {
    const [session] = broker.sessions();
    session?.hide("default.c", 0);
    expect((get("/v1/sessions") as SessionsReply).sessions[0]?.state).to.equal("half");
  });

  it("should show what the sidecars reported", function () {
    const { streams } = get("/v1/streams") as StreamsReply;
    expect(streams).to.deep.equal([{ pod: "default.a", ...REPORT.streams[0] }]);
    const { fallbacks } = get("/v1/fallbacks", "default.a") as FallbacksReply;
    expect(fallbacks).to.deep.equal([
      { pod: "default.a", reason: "quota", count: 5 },
      { pod: "default.a", reason: "disabled", count: 1 },
    ]);
    expect((get("/v1/fallbacks", "default.c") as FallbacksReply).fallbacks).to.deep.equal([]);
  });
});

describe("createAdminRoutes()", function () {
  const broker = new Broker(CATALOG, {
    native: new FakeNative(),
    clock: new FakeClock(),
    quotas: DEFAULT_QUOTAS,
    metrics: createAgentMetrics(),
    log: silentLog(),
  });

  function routesWith(health: HealthReply): ReturnType<typeof createAdminRoutes> {
    const channels = channelBroker(CATALOG);
    const catalog = (): Catalog => CATALOG;
    const deps = { broker, channels, catalog, health: () => health, reportOf: () => REPORT };
    return createAdminRoutes(deps, createAgentMetrics());
  }

  after(function () {
    broker.stop();
  });

  it("should answer the views of the node as the node-wide socket does", async function () {
    const routes = routesWith(HEALTH);
    const views = Object.keys(routes).filter((path) => path.startsWith("/v1/"));
    expect(views).to.have.length(6);
    for (const path of views) {
      const reply = await routes[path]?.(new URLSearchParams());
      expectDocumented(path, JSON.parse(reply?.body ?? ""));
    }
  });

  it("should not tell who may reach whom, which is for pods and operators", function () {
    expect(routesWith(HEALTH)).to.not.have.any.keys("/v1/peers", "/v1/whoami");
  });

  for (const [what, change, status] of [
    ["serves", { error: undefined }, 200],
    ["serves from an old state", {}, 200],
    ["knows nothing yet", { pods: 0 }, 503],
  ] as const) {
    it(`should answer /readyz with ${status} when it ${what}`, async function () {
      const { error, ...catalog } = { ...HEALTH.catalog, ...change };
      const health = { ...HEALTH, catalog: error === undefined ? catalog : { ...catalog, error } };
      const reply = await routesWith(health)["/readyz"]?.(new URLSearchParams());
      expect(reply?.status ?? 200).to.equal(status);
    });
  }
});

describe("docs/reference/agent-api.openapi.yaml", function () {
  it("should list the fallback reasons there are", function () {
    expect(OPENAPI.components.schemas.FallbackReason?.enum).to.deep.equal([...FALLBACK_REASONS]);
  });

  it("should state the limits there are", function () {
    const { httpRequests, connectionsPerSocket } = DEFAULT_QUOTAS;
    expect(OPENAPI.info.description)
      .to.include(`${connectionsPerSocket} connections to each`)
      .and.include(`${httpRequests.perSecond} requests a second`)
      .and.include(`burst of ${httpRequests.burst}`);
  });
});

describe("withMetrics()", function () {
  it("should add the metrics in the text format", async function () {
    const metrics = createAgentMetrics();
    addAgentGauges(metrics, {
      sessions: () => 3,
      sidecars: () => 2,
      pods: () => 6,
      failedPods: () => 1,
      channels: () => 4,
      channelAttachments: () => 5,
      channelProcesses: () => 2,
      channelBytes: () => 4096,
    });
    metrics.sessionRequests.inc({ result: "granted" });
    const route = withMetrics(() => undefined, metrics);
    const reply = await route("/metrics");
    expect(reply?.contentType).to.match(/^text\/plain/);
    expect(reply?.body).to.include('shimmy_agent_session_requests_total{result="granted"} 1');
    expect(reply?.body).to.include("shimmy_agent_sessions 3");
    expect(reply?.body).to.match(/shimmy_agent_info\{version="\d+\.\d+\.\d+"\} 1/);
    expect(route("/other")).to.equal(undefined);
  });
});
