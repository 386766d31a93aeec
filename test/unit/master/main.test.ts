import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { describeConfig } from "../../../common/env.ts";
import { RESOURCES, type Resource } from "../../../common/kubernetes/resources.ts";
import { createLogger } from "../../../common/log.ts";
import { INJECTION_REASONS } from "../../../common/reasons.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { MASTER_CONFIG, resolveMasterConfig } from "../../../master/env.ts";
import { runMaster, type RunningMaster } from "../../../master/main.ts";
import { addMasterGauges, createMasterMetrics } from "../../../master/metrics.ts";
import { eventually } from "../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../helpers/fake-api-server.ts";
import { FakeClock } from "../agent/fakes.ts";
import { rawPod, type PodSketch } from "./fakes.ts";

const { events, leases, namespaces, nodes, pods, sharedMemoryObjects, shimmyNodes } = RESOURCES;
const TIMES = { leaseMs: 1000, renewMs: 700, retryMs: 40 };
const LIMITS = { retryMs: 5, maxRetryMs: 50 };
const CHANNEL = {
  type: "PubSub",
  publishers: { containers: ["feed"] },
  subscribers: { podSelector: { matchLabels: { app: "trader" } } },
};

describe("runMaster()", function () {
  let server: FakeApiServer;
  let masters: RunningMaster[];

  async function start(identity: string): Promise<RunningMaster> {
    const env = { SHIMMY_ADMIN_ADDRESS: "127.0.0.1:0", SHIMMY_IDENTITY: identity };
    const master = await runMaster({
      config: resolveMasterConfig({ env }),
      access: server.access,
      log: createLogger({ process: "master", level: "silent" }),
      times: TIMES,
      limits: LIMITS,
    });
    masters.push(master);
    return master;
  }

  async function ask(
    master: RunningMaster,
    path: string,
  ): Promise<{ status: number; body: string }> {
    const response = await fetch(`http://127.0.0.1:${master.admin.port}${path}`);
    return { status: response.status, body: await response.text() };
  }

  function putPod(sketch: PodSketch): void {
    server.put(pods, { ...rawPod(sketch) });
  }

  function attached(node: string): string[] {
    const spec = server.get(shimmyNodes, node)?.["spec"] as
      { attachments?: { role: string; pod: { name: string } }[] } | undefined;
    return (spec?.attachments ?? []).map(({ role, pod }) => `${role} ${pod.name}`);
  }

  async function becomes(node: string, expected: string[]): Promise<void> {
    await eventually(`${expected.join()} on ${node}`, () => {
      const is = server.get(shimmyNodes, node) !== undefined && attached(node).join();
      return is === expected.join();
    });
  }

  function status(name: string): Readonly<Record<string, unknown>> | undefined {
    const found = server.get(sharedMemoryObjects, name, "market");
    return found?.["status"] as Readonly<Record<string, unknown>> | undefined;
  }

  const writes = (resource: Resource): number =>
    server.requests.filter(
      ({ method, path }) => method !== "GET" && path.includes(`/${resource.plural}`),
    ).length;

  beforeEach(async function () {
    server = await FakeApiServer.start();
    masters = [];
    for (const name of ["n1", "n2"]) server.put(nodes, { metadata: { name } });
    server.put(namespaces, { metadata: { name: "market" } });
    const metadata = { name: "prices", namespace: "market" };
    server.put(sharedMemoryObjects, { metadata, spec: CHANNEL });
    putPod({ name: "feed-1", containers: ["feed"] });
  });

  afterEach(async function () {
    for (const master of masters) await master.close();
    await server.close();
  });

  it("should make a ShimmyNode for each node, owned by it, and follow pods", async function () {
    await start("a");
    await becomes("n1", ["publisher feed-1"]);
    await becomes("n2", []);
    const owner = { apiVersion: "v1", kind: "Node", name: "n1" };
    const uid = server.get(nodes, "n1")?.metadata["uid"];
    expect(server.get(shimmyNodes, "n1")?.metadata["ownerReferences"]).to.deep.equal([
      { ...owner, uid },
    ]);
    putPod({ name: "trader-1", labels: { app: "trader" }, node: "n2" });
    await becomes("n2", ["subscriber trader-1"]);
    server.delete(pods, "feed-1", "market");
    await becomes("n1", []);
    server.delete(sharedMemoryObjects, "prices", "market");
    await becomes("n2", []);
  });

  it("should write status only when it changes", async function () {
    await start("a");
    await eventually("a status", () => status("prices")?.["publishers"] === 1);
    const before = writes(sharedMemoryObjects);
    putPod({ name: "other", labels: { app: "other" } });
    putPod({ name: "trader-1", labels: { app: "trader" }, node: "n2" });
    await eventually("another status", () => status("prices")?.["subscribers"] === 1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(writes(sharedMemoryObjects)).to.equal(before + 1);
    expect(status("prices")).to.have.property("nodes", 2);
  });

  it("should leave what an agent writes alone", async function () {
    await start("a");
    await becomes("n1", ["publisher feed-1"]);
    const node = server.get(shimmyNodes, "n1");
    if (node === undefined) throw new Error("no node");
    server.put(shimmyNodes, { ...node, status: { agentVersion: "1" } });
    putPod({ name: "feed-2", containers: ["feed"] });
    await becomes("n1", ["publisher feed-1", "publisher feed-2"]);
    expect(server.get(shimmyNodes, "n1")?.["status"]).to.deep.equal({ agentVersion: "1" });
  });

  it("should put right what somebody else changed, conflicts and refusals included", async function () {
    await start("a");
    await becomes("n1", ["publisher feed-1"]);
    let refusals = 3;
    server.intercept = ({ method }) =>
      method === "PATCH" && refusals-- > 0
        ? failure(refusals === 1 ? 409 : 500, refusals === 1 ? "Conflict" : "InternalError", "no")
        : undefined;
    const node = server.get(shimmyNodes, "n1");
    server.put(shimmyNodes, { ...node, metadata: { name: "n1" }, spec: { attachments: [] } });
    await becomes("n1", ["publisher feed-1"]);
    expect(refusals).to.be.lessThan(1);
  });

  it("should write nothing before everything is known", async function () {
    server.intercept = ({ path }) => (path.endsWith("/pods") ? "drop" : undefined);
    const master = await start("a");
    await eventually("a leader", () => master.isLeading);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(writes(shimmyNodes)).to.equal(0);
    expect(await ask(master, "/readyz")).to.include({ status: 503 });
    server.intercept = () => undefined;
    await becomes("n1", ["publisher feed-1"]);
    expect(await ask(master, "/readyz")).to.include({ status: 200 });
  });

  it("should have one writer, and another within a moment of its end", async function () {
    const a = await start("a");
    await eventually("a leader", () => a.isLeading);
    const b = await start("b");
    await becomes("n1", ["publisher feed-1"]);
    expect(b.isLeading).to.equal(false);
    await a.close();
    putPod({ name: "feed-2", containers: ["feed"] });
    await becomes("n1", ["publisher feed-1", "publisher feed-2"]);
    expect(b.isLeading).to.equal(true);
    const status = JSON.parse((await ask(b, "/v1/status")).body) as Record<string, unknown>;
    expect(status).to.include({
      identity: "b",
      leading: true,
      leader: "b",
      synced: true,
      queue: 0,
    });
    expect(status).to.include({ objects: 1, attachments: 2 });
  });

  it("should stop writing and say so when it may not lead any more", async function () {
    const a = await start("a");
    await becomes("n1", ["publisher feed-1"]);
    server.intercept = ({ path }) => (path.includes(leases.plural) ? "hang" : undefined);
    await a.lost;
    expect(a.isLeading).to.equal(false);
    const before = writes(shimmyNodes);
    putPod({ name: "feed-2", containers: ["feed"] });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(writes(shimmyNodes)).to.equal(before);
  });

  it("should catch up after the API server was away", async function () {
    const master = await start("a");
    await becomes("n1", ["publisher feed-1"]);
    server.intercept = ({ path }) => (path.includes(leases.plural) ? undefined : "drop");
    server.cut();
    putPod({ name: "feed-2", containers: ["feed"] });
    server.compact();
    await new Promise((resolve) => setTimeout(resolve, 200));
    server.intercept = () => undefined;
    await becomes("n1", ["publisher feed-1", "publisher feed-2"]);
    expect(await ask(master, "/healthz")).to.include({ status: 200 });
  });

  it("should report a pod that opted in and has no sidecar, once", async function () {
    server.put(namespaces, {
      metadata: { name: "market", labels: { "shimmy.io/inject": "enabled" } },
    });
    putPod({ name: "bare", sidecar: "none" });
    const master = await start("a");
    const [event] = await eventually("an event", () => {
      const found = server.all(events);
      return found.length > 0 && found;
    });
    expect(event).to.deep.include({ reason: "NotInjected", type: "Warning" });
    expect(event?.["regarding"]).to.include({ kind: "Pod", name: "bare", uid: "uid-bare" });
    expect((await ask(master, "/metrics")).body).to.include(
      'shimmy_master_uninjected_pods{opt_in="namespace"} 1',
    );
    await master.close();
    const next = await start("b");
    await eventually("a leader", () => next.isLeading);
    await eventually("another attempt", async () =>
      (await ask(next, "/metrics")).body.includes('events_total{result="known"} 1'),
    );
    expect(server.all(events)).to.have.length(1);
    server.delete(pods, "bare", "market");
    await eventually("none", async () =>
      (await ask(next, "/metrics")).body.includes('uninjected_pods{opt_in="namespace"} 0'),
    );
  });

  it("should tell the controller why its pods were left alone, once", async function () {
    const labels = { "shimmy.io/inject": "enabled" };
    server.put(namespaces, { metadata: { name: "market", labels } });
    const annotations = { "shimmy.io/skipped": "host_network" };
    for (const name of ["w-1", "w-2"]) putPod({ name, owner: "w", sidecar: "none", annotations });
    putPod({ name: "alone", sidecar: "none", annotations: { "shimmy.io/skipped": "windows" } });
    const master = await start("a");
    await eventually("events", () => server.all(events).length === 2);
    await master.close();
    const next = await start("b");
    await eventually("another look", async () =>
      (await ask(next, "/metrics")).body.includes('events_total{result="known"} 2'),
    );
    const told = server.all(events).map((each) => {
      const { kind, name } = each["regarding"] as Record<string, unknown>;
      return [each["reason"], each["type"], kind, name, each["note"]];
    });
    expect(told.map((each) => each.slice(0, 4))).to.have.deep.members([
      ["Skipped", "Normal", "ReplicaSet", "w"],
      ["Skipped", "Normal", "Pod", "alone"],
    ]);
    expect(told.map(([, , kind, , note]) => `${String(kind)}: ${String(note)}`).join("\n"))
      .to.match(/ReplicaSet: .* for reason host_network;/)
      .and.match(/Pod: .* for reason windows;/);
    // The label has the words of the closed list, each of them and no other.
    const { body } = await ask(next, "/metrics");
    const counts = [...body.matchAll(/^shimmy_master_skipped_pods\{reason="(\w+)"\} (\d+)$/gm)];
    const expected = { host_network: "2", windows: "1" } as Readonly<Record<string, string>>;
    expect(counts.map(([, reason = "", count]) => [reason, count])).to.deep.equal(
      INJECTION_REASONS.map((reason) => [reason, expected[reason] ?? "0"]),
    );
    expect(body).to.include('shimmy_master_uninjected_pods{opt_in="namespace"} 0');
  });

  it("should evict nothing unless it is told to", async function () {
    putPod({ name: "w-1", owner: "w", sidecar: "none", labels: { "shimmy.io/inject": "enabled" } });
    const clock = new FakeClock();
    const env = { SHIMMY_ADMIN_ADDRESS: "127.0.0.1:0" };
    const times = { leaseMs: 600_000, renewMs: 400_000, retryMs: 100 };
    const tried = (): number => server.seen("POST", "/eviction").length;
    for (const isEvicting of [false, true]) {
      const config = { ...resolveMasterConfig({ env }), isEvicting };
      const log = createLogger({ process: "master", level: "silent" });
      const master = await runMaster({ config, access: server.access, log, clock, times });
      masters.push(master);
      await eventually("a leader", () => {
        clock.advance(20);
        return master.isLeading;
      });
      const before = tried();
      const ends = clock.now() + 120_000;
      await eventually("time to pass", () => {
        clock.advance(1000);
        return clock.now() > ends || tried() > before;
      });
      expect(tried() > before).to.equal(isEvicting);
      await master.close();
    }
  });

  it("should report a workload whose key was not carried to its template", async function () {
    const { cronJobs, deployments } = RESOURCES;
    const asked = { "shimmy.io/inject": "enabled" };
    const put = (resource: Resource, name: string, template: unknown): void => {
      const metadata = { name, namespace: "market", annotations: asked };
      const spec = resource === cronJobs ? { jobTemplate: { spec: { template } } } : { template };
      server.put(resource, { metadata, spec });
    };
    put(deployments, "bare", { metadata: { labels: { app: "a" } } });
    put(deployments, "carried", { metadata: { annotations: asked } });
    put(deployments, "refused", { metadata: { labels: { "shimmy.io/inject": "disabled" } } });
    put(cronJobs, "nightly", {});
    const master = await start("a");
    await eventually("events", () => server.all(events).length === 2);
    const told = server.all(events).map((each) => [each["reason"], each["regarding"]]);
    for (const [kind, name] of [
      ["Deployment", "bare"],
      ["CronJob", "nightly"],
    ]) {
      const regarding = told.map(([, about]) => about as Record<string, unknown>);
      expect(regarding.some((about) => about["kind"] === kind && about["name"] === name)).to.be
        .true;
    }
    expect(told.map(([reason]) => reason)).to.deep.equal(["NotCarried", "NotCarried"]);
    put(deployments, "bare", { metadata: { annotations: asked } });
    await eventually("none", async () =>
      (await ask(master, "/metrics")).body.includes('uncarried_workloads{kind="Deployment"} 0'),
    );
  });
});

describe("docs of the master", function () {
  const read = (page: string): string =>
    readFileSync(join(PACKAGE_ROOT, "docs/reference", page), "utf8");

  it("should have its settings as they are", function () {
    expect(read("config.md")).to.include(describeConfig(MASTER_CONFIG));
  });

  it("should have a row for each of its metrics, and no other", async function () {
    const metrics = createMasterMetrics();
    const none = (): number => 0;
    addMasterGauges(metrics, {
      isLeading: () => false,
      objects: none,
      attachments: none,
      queueLength: none,
      silentMs: none,
    });
    const rows = (await metrics.registry.getMetricsAsJSON()).map(({ name, type, help }) => {
      const { labelNames } = metrics.registry.getSingleMetric(name) as unknown as {
        labelNames: string[];
      };
      const labels = labelNames.map((label) => `\`${label}\``).join(", ");
      return `| \`${name}\` | ${String(type)} | ${labels} | ${help} |`;
    });
    const [section = ""] = read("metrics.md").split("\n## Master\n")[1]?.split("\n## ") ?? [];
    expect(section.split("\n").filter((line) => line.startsWith("| `"))).to.deep.equal(rows);
  });
});
