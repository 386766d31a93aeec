import { expect } from "chai";

import type { Catalog } from "../../../../agent/catalog.ts";
import { endpointsFor } from "../../../../agent/endpoints.ts";
import {
  openKubernetesCatalog,
  type KubernetesCatalogSource,
} from "../../../../agent/kubernetes/source.ts";
import { createAgentMetrics, type AgentMetrics } from "../../../../agent/metrics.ts";
import { judge } from "../../../../agent/policy.ts";
import { systemClock, type Clock } from "../../../../common/clock.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { RESOURCES } from "../../../../common/kubernetes/resources.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import { silentLog } from "../fakes.ts";
import {
  NODE,
  rawPod,
  rawService,
  rawSlice,
  uidOf,
  type PodSketch,
  type ServiceSketch,
  type SliceSketch,
} from "./fakes.ts";

const { pods, services, endpointSlices, namespaces, configMaps, networkPolicies, nodes } =
  RESOURCES;
const ORDERS = "shop/orders";

/** The time of the process, which a test can move on. */
class LeapingClock implements Clock {
  leapMs = 0;
  /** How often something was done that is done each second. */
  looks = 0;

  now(): number {
    return systemClock.now() + this.leapMs;
  }

  after(delayMs: number, action: () => void): () => void {
    return systemClock.after(delayMs, action);
  }

  every(periodMs: number, action: () => void): () => void {
    return systemClock.every(periodMs, () => {
      action();
      if (periodMs === 1000) this.looks++;
    });
  }
}

describe("openKubernetesCatalog()", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let clock: LeapingClock;
  let metrics: AgentMetrics;
  let source: KubernetesCatalogSource | undefined;
  let told: Catalog[];

  function putPod(sketch: PodSketch): void {
    server.put(pods, rawPod(sketch));
  }

  function putService(sketch: ServiceSketch = {}): void {
    server.put(services, rawService(sketch));
  }

  function putSlice(sketch: SliceSketch): void {
    server.put(endpointSlices, rawSlice(sketch));
  }

  function putNamespace(name: string, annotations: Readonly<Record<string, string>> = {}): void {
    server.put(namespaces, { metadata: { name, labels: { name }, annotations } });
  }

  /** Two pods of one namespace, one behind a Service. */
  function putUsual(): void {
    server.put(nodes, {
      metadata: { name: NODE, labels: { "topology.kubernetes.io/zone": "z1" } },
    });
    putNamespace("shop");
    putPod({ name: "client", address: "10.1.0.1", ports: [] });
    putPod({ name: "web", address: "10.1.0.2" });
    putService();
    putSlice({ endpoints: [{ address: "10.1.0.2", pod: "web" }] });
  }

  async function open(firstReadMs?: number): Promise<KubernetesCatalogSource> {
    source = await openKubernetesCatalog({
      nodeName: NODE,
      api,
      clock,
      log: silentLog(),
      metrics,
      onChange: (catalog) => told.push(catalog),
      limits: { retryMs: 5, maxRetryMs: 20 },
      times: { refreshMs: 50, retryMs: 10 },
      ...(firstReadMs === undefined ? {} : { firstReadMs }),
    });
    source.watch();
    return source;
  }

  /** How a pod reaches a Service: `address:port reason` of each endpoint, by the newest catalog. */
  function ways(client = "client", key = ORDERS): string {
    const catalog = source?.catalog;
    const pod = catalog?.pods.get(uidOf(client));
    if (catalog === undefined || pod === undefined) return "unknown";
    const { ports, endpoints, problem } = endpointsFor(pod, key, catalog);
    const shown = endpoints.map(({ address, reason = "shm" }) => `${address} ${reason}`);
    return (
      [...shown, ...(problem === undefined ? [] : [problem])].join(", ") +
      (ports.length === 0 ? "none" : "")
    );
  }

  async function settles(expected: string, client = "client", key = ORDERS): Promise<void> {
    await eventually(
      `"${expected}", is "${ways(client, key)}"`,
      () => ways(client, key) === expected,
    );
  }

  /** What is granted to sessions there are. */
  function held(): number {
    const catalog = source?.catalog;
    const client = catalog?.pods.get(uidOf("client"));
    const web = catalog?.pods.get(uidOf("web"));
    if (catalog === undefined || client === undefined || web === undefined) return -1;
    return judge({ client, server: web }, catalog, "held").grants.length;
  }

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    clock = new LeapingClock();
    metrics = createAgentMetrics();
    told = [];
    source = undefined;
  });

  afterEach(async function () {
    await source?.closed();
    await api.close();
    await server.close();
  });

  it("should know pods, services and how they reach each other", async function () {
    putUsual();
    const { catalog, error } = await open();
    expect(error).to.equal(undefined);
    expect(catalog.node).to.equal(NODE);
    expect([...catalog.pods.keys()].sort()).to.deep.equal([uidOf("client"), uidOf("web")]);
    expect(catalog.pods.get(uidOf("web"))).to.deep.include({
      identity: { kind: "pod" },
      services: [ORDERS],
      appPorts: [8080],
    });
    expect(ways()).to.equal("10.1.0.2 shm");
  });

  it("should ask for pods of its own node, and for one ConfigMap of its own namespace", async function () {
    putUsual();
    putPod({ name: "far", node: "n2", address: "10.2.0.1" });
    await open();
    expect(source?.catalog.pods.has(uidOf("far"))).to.equal(false);
    const selectors = (plural: string): string[] =>
      server.lists(plural).map(({ path, query }) => `${path}?${query.get("fieldSelector") ?? ""}`);
    expect(selectors("/pods")).to.deep.equal([`/api/v1/pods?spec.nodeName=${NODE}`]);
    expect(selectors("/configmaps")).to.deep.equal([
      "/api/v1/namespaces/shimmy-system/configmaps?metadata.name=shimmy-config",
    ]);
  });

  describe("changes", function () {
    beforeEach(async function () {
      putUsual();
      await open();
      await settles("10.1.0.2 shm");
      await eventually("the first word", () => told.length > 0);
    });

    it("should follow endpoints, and tell once of several", async function () {
      const before = told.length;
      putPod({ name: "web-2", address: "10.1.0.3" });
      const two = ["web", "web-2"].map((pod, index) => ({ address: `10.1.0.${index + 2}`, pod }));
      putSlice({ endpoints: two });
      await settles("10.1.0.2 shm, 10.1.0.3 shm");
      await eventually("the word", () => told.at(-1) === source?.catalog);
      expect(told.length - before).to.be.lessThan(4);
    });

    it("should say nothing of Services that no pod of the node has to do with", async function () {
      const first = told.length;
      putNamespace("far");
      await eventually("the word of the namespace", () => told.length > first);
      const second = told.length;
      putService({ name: "far", namespace: "far" });
      await eventually("the word of the Service", () => told.length > second);
      const before = told.length;
      for (let index = 0; index < 5; index++) {
        putSlice({
          namespace: "far",
          service: "far",
          endpoints: [{ address: `10.9.0.${index}`, node: "n9" }],
        });
      }
      putPod({ name: "marker", address: "10.1.0.77" });
      await eventually("the marker", () => source?.catalog.pods.has(uidOf("marker")));
      expect(told.length - before).to.equal(1);
    });

    it("should tell of a Service that was asked for before it existed", async function () {
      expect(ways("client", "shop/later")).to.equal("none");
      putService({ name: "later" });
      putSlice({ service: "later", endpoints: [{ address: "10.1.0.2", pod: "web" }] });
      await settles("10.1.0.2 shm", "client", "shop/later");
    });

    it("should follow pods that come, go and get a sidecar", async function () {
      server.delete(pods, "web", "shop");
      await settles("10.1.0.2 peer_not_injected");
      putPod({ name: "web", address: "10.1.0.2", sidecar: "none" });
      await eventually("the pod", () => source?.catalog.pods.has(uidOf("web")));
      expect(ways()).to.equal("10.1.0.2 peer_not_injected");
      putPod({ name: "web", address: "10.1.0.2" });
      await settles("10.1.0.2 shm");
    });

    it("should reach endpoints of other nodes over TCP", async function () {
      putSlice({ endpoints: [{ address: "10.2.0.9", pod: "far", node: "n2" }] });
      await settles("10.2.0.9 other_node_no_fabric");
    });

    it("should not take a tenant's word for another namespace's pod", async function () {
      putNamespace("evil");
      putPod({ name: "spy", namespace: "evil", address: "10.1.0.66" });
      putService({ name: "orders", namespace: "evil" });
      putSlice({ namespace: "evil", endpoints: [{ address: "10.1.0.2", pod: "web" }] });
      await settles("10.1.0.2 policy_denied", "spy", "evil/orders");
      const { catalog } = source as KubernetesCatalogSource;
      const [client, web] = ["spy", "web"].map((name) => catalog.pods.get(uidOf(name)));
      if (client === undefined || web === undefined) throw new Error("no pod");
      expect(judge({ client, server: web }, catalog, "new")).to.deep.equal({
        grants: [],
        reason: "policy_denied",
      });
    });

    it("should grant across namespaces what a SharedMemoryObject of the server's grants", async function () {
      const { sharedMemoryObjects } = RESOURCES;
      putNamespace("web");
      putPod({ name: "guest", namespace: "web", address: "10.1.0.5" });
      await settles("10.1.0.2 policy_denied", "guest");
      const connections = [{ service: "orders", namespaces: ["web"] }];
      server.put(sharedMemoryObjects, {
        metadata: { name: "own", namespace: "web" },
        spec: { connections },
      });
      server.put(sharedMemoryObjects, {
        metadata: { name: "leave", namespace: "shop" },
        spec: { connections },
      });
      await settles("10.1.0.2 shm", "guest");
      server.delete(sharedMemoryObjects, "leave", "shop");
      await settles("10.1.0.2 policy_denied", "guest");
    });

    it("should grant roles in a topic as long as a SharedMemoryObject declares it", async function () {
      const topic = { namespace: "shop", name: "prices" };
      const says = (): string | undefined => {
        const pod = source?.catalog.pods.get(uidOf("web"));
        return pod === undefined ? "no pod" : source?.catalog.topics.check(pod, topic, "writer");
      };
      expect(says()).to.equal("not_declared");
      const role = { containers: ["app"] };
      server.put(RESOURCES.sharedMemoryObjects, {
        metadata: topic,
        spec: { type: "Stream", publishers: role, subscribers: role },
      });
      await eventually("the role", () => says() === undefined);
      expect(source?.catalog.topics.declared(topic)).to.include({ kind: "lock" });
      server.delete(RESOURCES.sharedMemoryObjects, "prices", "shop");
      await eventually("the end of it", () => says() === "not_declared");
    });

    it("should follow NetworkPolicies, and take back what was granted", async function () {
      expect(held()).to.equal(1);
      const spec = { podSelector: {}, policyTypes: ["Ingress"] };
      server.put(networkPolicies, { metadata: { name: "deny", namespace: "shop" }, spec });
      await settles("10.1.0.2 policy_denied");
      expect(held()).to.equal(0);
      const ingress = [{ ports: [{ port: 8080, protocol: "TCP" }] }];
      server.put(networkPolicies, {
        metadata: { name: "deny", namespace: "shop" },
        spec: { ...spec, ingress },
      });
      await settles("10.1.0.2 shm");
      server.put(networkPolicies, {
        metadata: { name: "deny", namespace: "shop" },
        spec: { ...spec, ingress: [{ ports: [{ port: 81 }] }] },
      });
      await settles("10.1.0.2 policy_denied");
    });

    it("should not guess what a NetworkPolicy means that it does not understand", async function () {
      const spec = {
        podSelector: { matchExpressions: [{ key: "a", operator: "Near", values: [] }] },
      };
      server.put(networkPolicies, { metadata: { name: "odd", namespace: "shop" }, spec });
      await settles("10.1.0.2 policy_unknown");
      expect(held()).to.equal(0);
      server.delete(networkPolicies, "odd", "shop");
      await settles("10.1.0.2 shm");
    });

    const switches: [what: string, set: () => void, unset: () => void][] = [
      [
        "the cluster",
        () => {
          server.put(configMaps, {
            metadata: { name: "shimmy-config", namespace: "shimmy-system" },
            data: { transport: "tcp", "log-level": "info" },
          });
        },
        () => {
          server.delete(configMaps, "shimmy-config", "shimmy-system");
        },
      ],
      [
        "the namespace",
        () => {
          putNamespace("shop", { "shimmy.io/transport": "tcp" });
        },
        () => {
          putNamespace("shop");
        },
      ],
      [
        "the server's pod",
        () => {
          putPod({
            name: "web",
            address: "10.1.0.2",
            annotations: { "shimmy.io/transport": "tcp" },
          });
        },
        () => {
          putPod({ name: "web", address: "10.1.0.2" });
        },
      ],
    ];
    for (const [what, set, unset] of switches) {
      it(`should be switched off by ${what} within 5 s for what is new, and on again`, async function () {
        const begunAt = performance.now();
        set();
        await settles("10.1.0.2 disabled");
        expect(performance.now() - begunAt).to.be.lessThan(5000);
        expect(held(), "sessions go on").to.equal(1);
        unset();
        await settles("10.1.0.2 shm");
      });
    }

    it("should keep to another ConfigMap's word not at all", async function () {
      server.put(configMaps, {
        metadata: { name: "other", namespace: "shimmy-system" },
        data: { transport: "tcp" },
      });
      putPod({ name: "marker", address: "10.1.0.77" });
      await eventually("the marker", () => source?.catalog.pods.has(uidOf("marker")));
      expect(ways()).to.equal("10.1.0.2 shm");
    });
  });

  describe("without the API server", function () {
    it("should keep what it knows, and catch up", async function () {
      putUsual();
      await open();
      server.intercept = () => "drop";
      server.cut();
      putSlice({ endpoints: [{ address: "10.2.0.9", node: "n2" }] });
      expect(ways()).to.equal("10.1.0.2 shm");
      server.intercept = () => undefined;
      await settles("10.2.0.9 other_node_no_fabric");
    });

    it("should grant nothing new after 120 s, keep sessions, and be well again", async function () {
      putUsual();
      const opened = await open();
      server.intercept = () => "drop";
      server.cut();
      // Not to the last second: real time goes on beside it.
      clock.leapMs += 110_000;
      // What the first look would find is in effect by the second.
      const looks = clock.looks;
      await eventually("two looks at the age of policy", () => clock.looks >= looks + 2);
      expect(ways()).to.equal("10.1.0.2 shm");
      clock.leapMs += 10_000;
      await settles("10.1.0.2 policy_unknown");
      expect(held()).to.equal(1);
      expect(opened.error?.message).to.match(/^nothing heard for 120 s of pods, namespaces/);
      const text = await metrics.registry.metrics();
      expect(text).to.include("shimmy_agent_policy_stale 1");
      server.intercept = () => undefined;
      server.compact();
      await settles("10.1.0.2 shm");
      await eventually("no error", () => opened.error === undefined);
    });

    it("should open with an empty catalog and an error, and be filled later", async function () {
      putUsual();
      server.intercept = () => "drop";
      const { catalog, error } = await open(50);
      expect(catalog.pods.size).to.equal(0);
      expect(error?.code).to.equal("SHIMMY_ERR_KUBERNETES_API");
      expect(error?.message).to.match(/^not read yet: pods, namespaces, services/);
      server.intercept = () => undefined;
      await settles("10.1.0.2 shm");
      expect(source?.error).to.equal(undefined);
      await eventually("the word", () => told.at(-1)?.pods.size === 2);
    });

    it("should say nothing before everything was read, so that nothing is revoked (I1)", async function () {
      putUsual();
      server.intercept = ({ path }) =>
        path.endsWith("/endpointslices") ? failure(500, "Internal", "later") : undefined;
      const opened = await open(100);
      expect(opened.catalog.pods.size).to.equal(0);
      expect(opened.error?.message).to.equal("not read yet: endpointSlices");
      server.intercept = () => undefined;
      await settles("10.1.0.2 shm");
    });
  });

  it("should prefer the zone of its node where a Service asks for it", async function () {
    putUsual();
    const hints = (name: string): object => ({ forZones: [{ name }] });
    putSlice({
      endpoints: [
        { address: "10.2.0.1", node: "n2", hints: hints("z1") },
        { address: "10.3.0.1", node: "n3", hints: hints("z2") },
      ],
    });
    await open();
    await settles("10.2.0.1 other_node_no_fabric");
  });

  it("should show its caches in metrics", async function () {
    putUsual();
    await open();
    const text = await metrics.registry.metrics();
    expect(text).to.include('shimmy_agent_cache_objects{cache="pods"} 2');
    expect(text).to.include('shimmy_agent_cache_objects{cache="endpointSlices"} 1');
    expect(text).to.match(/shimmy_agent_cache_silent_seconds\{cache="networkPolicies"\} [\d.]+/);
    expect(text).to.include("shimmy_agent_policy_stale 0");
    expect(text).to.include("shimmy_agent_foreign_policy_kinds 0");
    expect(text).to.include('shimmy_agent_watch_events_total{resource="services",event="list"} 1');
  });

  it("should not take a pod's own cap for its neighbour's", async function () {
    putUsual();
    putPod({ name: "quiet", address: "10.1.0.9", sidecarEnv: { SHIMMY_TRANSPORT: "tcp" } });
    await open();
    expect(ways("quiet")).to.equal("10.1.0.2 disabled");
    expect(ways()).to.equal("10.1.0.2 shm");
  });
});
