import { expect } from "chai";

import { Cluster } from "../../../../cli/cluster/cluster.ts";
import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { Uninstaller, type UninstallOptions } from "../../../../cli/uninstall/uninstaller.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import type { Resource } from "../../../../common/kubernetes/resources.ts";
import { FakeApiServer, failure, type StoredObject } from "../../../helpers/fake-api-server.ts";
import {
  makeCertificates,
  putHealthyCluster,
  putPod,
  SYSTEM,
  type TestCertificates,
} from "../check/healthy.ts";

const LABELS = { "app.kubernetes.io/part-of": "shimmy" };
const KEYS = { "shimmy.io/inject": "enabled", "shimmy.io/upstreams": "nginx:9001" };

interface Sketch {
  readonly annotations?: object;
  readonly template?: object;
  readonly spec?: object;
}

describe("Uninstaller", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let lines: string[];
  let certificates: TestCertificates;

  before(function () {
    certificates = makeCertificates(30);
  });

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    lines = [];
    putHealthyCluster(server, certificates);
    server.delete(KINDS.pods, "web-1", "shop");
    server.delete(KINDS.pods, "shimmy-agent-n1", SYSTEM);
    server.put(KINDS.namespaces, { metadata: { name: SYSTEM, labels: LABELS } });
    for (const name of [NAMES.injector, NAMES.master]) {
      server.put(KINDS.clusterRoles, { metadata: { name, labels: LABELS } });
    }
    server.put(KINDS.clusterRoles, { metadata: { name: "cluster-admin" } });
    server.put(KINDS.sharedMemoryObjects, { metadata: { name: "prices", namespace: "shop" } });
  });

  afterEach(async function () {
    await api.close();
    await server.close();
  });

  function uninstall(options: Partial<UninstallOptions> = {}): Promise<void> {
    return new Uninstaller({
      cluster: new Cluster(api, server.access.server),
      namespace: SYSTEM,
      dryRun: false,
      definitions: false,
      workloadsOnly: false,
      force: false,
      timeoutMs: 5000,
      pollMs: 5,
      say: (line) => lines.push(line),
      ...options,
    }).run();
  }

  /** A workload of one pod, which has a sidecar. */
  function putWorkload(resource: Resource, name: string, sketch: Sketch = {}): void {
    const { annotations = {}, template = {}, spec = {} } = sketch;
    server.put(resource, {
      metadata: { name, namespace: "shop", annotations },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: name } },
        template: { metadata: template },
        ...spec,
      },
      status: { observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1 },
    });
    const isDeployment = resource.kind === "Deployment";
    const kind = isDeployment ? "ReplicaSet" : resource.kind;
    const owner = { kind, name: isDeployment ? `${name}-5d8f` : name, controller: true };
    putPod(server, `${name}-1`, { owner, labels: { app: name } });
  }

  /** Makes pods of changed workloads anew, without a sidecar, when they are looked at twice. */
  function runControllers(resource: Resource = KINDS.deployments): void {
    server.intercept = ({ method, path }) => {
      if (method !== "GET" || path !== "/api/v1/pods") return undefined;
      for (const object of server.all(resource)) renew(resource, object);
      return undefined;
    };
  }

  function renew(resource: Resource, object: StoredObject): void {
    const { name, generation } = object.metadata;
    const status = object["status"] as { observedGeneration?: number } | undefined;
    if (object.metadata["namespace"] !== "shop" || status?.observedGeneration === generation)
      return;
    server.put(resource, { ...object, status: { ...status, observedGeneration: generation } });
    putPod(server, `${name}-1`, { sidecar: false });
  }

  function annotationsOf(resource: Resource, name: string, namespace?: string): unknown {
    return server.get(resource, name, namespace)?.metadata["annotations"];
  }

  const deleted = (): string[] =>
    server.seen("DELETE", "/").map(({ path }) => path.split("/").slice(-2).join("/"));

  it("should opt workloads out, wait for their pods, and only then delete the parts", async function () {
    putWorkload(KINDS.deployments, "web", {
      annotations: { ...KEYS, other: "1" },
      template: { annotations: { ...KEYS, "shimmy.io/carried": "x=y", mine: "1" } },
    });
    runControllers();
    await uninstall();
    expect(annotationsOf(KINDS.deployments, "web", "shop")).to.deep.equal({ other: "1" });
    const { template } = server.get(KINDS.deployments, "web", "shop")?.["spec"] as {
      template: unknown;
    };
    expect(template).to.deep.equal({ metadata: { annotations: { mine: "1" } } });
    expect(lines.slice(0, 2)).to.deep.equal([
      "deployment shop/web: removing shimmy.io/inject=enabled, shimmy.io/upstreams=nginx:9001, shimmy.io/carried=x=y",
      "deleting mutatingwebhookconfiguration shimmy-injector",
    ]);
    const firstDelete = server.requests.findIndex(({ method }) => method === "DELETE");
    const patch = server.requests.findIndex(({ method }) => method === "PATCH");
    expect(patch).to.be.greaterThan(-1).and.lessThan(firstDelete);
  });

  it("should delete what is ours and nothing else", async function () {
    await uninstall();
    expect(deleted()).to.have.members([
      "mutatingwebhookconfigurations/shimmy-injector",
      "validatingadmissionpolicybindings/shimmy-injected",
      "validatingadmissionpolicybindings/shimmy-node-status",
      "validatingadmissionpolicies/shimmy-injected",
      "validatingadmissionpolicies/shimmy-node-status",
      "deployments/shimmy-injector",
      "deployments/shimmy-master",
      "daemonsets/shimmy-agent",
      "shimmynodes/n1",
      "leases/shimmy-master",
      "secrets/shimmy-injector-tls",
      "secrets/shimmy-webhook-ca",
      "clusterroles/shimmy-injector",
      "clusterroles/shimmy-master",
      "namespaces/shimmy-system",
    ]);
    expect(deleted()[0]).to.equal("mutatingwebhookconfigurations/shimmy-injector");
    expect(lines.at(-1))
      .to.include("Shimmy is uninstalled. Kept")
      .and.include("1 SharedMemoryObjects");
  });

  it("should find nothing to do the second time", async function () {
    await uninstall();
    const count = server.seen("DELETE", "/").length;
    lines = [];
    await uninstall();
    expect(server.seen("DELETE", "/")).to.have.length(count);
    expect(lines).to.have.length(1);
  });

  it("should delete the kinds when told to", async function () {
    await uninstall({ definitions: true });
    expect(deleted()).to.include.members([
      "customresourcedefinitions/sharedmemoryobjects.shimmy.io",
      "customresourcedefinitions/shimmynodes.shimmy.io",
    ]);
  });

  it("should restart workloads whose namespace had opted in", async function () {
    server.put(KINDS.namespaces, {
      metadata: { name: "shop", labels: { "shimmy.io/inject": "enabled", team: "a" } },
    });
    putWorkload(KINDS.deployments, "web");
    runControllers();
    await uninstall();
    expect(lines.slice(0, 3)).to.deep.equal([
      "namespace shop: removing shimmy.io/inject=enabled",
      "deployment shop/web: restarting",
      "waiting for new pods of deployment shop/web",
    ]);
    expect(server.get(KINDS.namespaces, "shop")?.metadata["labels"]).to.deep.equal({ team: "a" });
  });

  it("should restart each workload once", async function () {
    putWorkload(KINDS.statefulSets, "db");
    runControllers(KINDS.statefulSets);
    await uninstall();
    expect(server.seen("PATCH", "statefulsets")).to.have.length(1);
  });

  it("should opt CronJobs out in the template of their Jobs", async function () {
    const annotations = { "shimmy.io/inject": "enabled" };
    server.put(KINDS.cronJobs, {
      metadata: { name: "night", namespace: "shop", annotations },
      spec: { jobTemplate: { spec: { template: { metadata: { annotations } } } } },
    });
    await uninstall();
    const text = JSON.stringify(server.get(KINDS.cronJobs, "night", "shop"));
    expect(text).to.not.include("shimmy.io/inject");
  });

  for (const [what, put, says] of [
    [
      "a pod of nobody",
      () => {
        putPod(server, "lonely");
      },
      "pod shop/lonely: nobody makes it again",
    ],
    [
      "a pod of a controller that is not known",
      () => {
        putPod(server, "roll", { owner: { kind: "Rollout", name: "r", controller: true } });
      },
      "pod shop/roll: belongs to rollout r",
    ],
    [
      "a paused Deployment",
      () => {
        putWorkload(KINDS.deployments, "web", { annotations: KEYS, spec: { paused: true } });
      },
      "deployment shop/web: is paused; kubectl rollout resume deployment -n shop web",
    ],
    [
      "a StatefulSet of strategy OnDelete",
      () => {
        putWorkload(KINDS.statefulSets, "db", { spec: { updateStrategy: { type: "OnDelete" } } });
      },
      "statefulset shop/db: has strategy OnDelete; delete its pods",
    ],
    [
      "a StatefulSet with a partition",
      () => {
        const updateStrategy = { type: "RollingUpdate", rollingUpdate: { partition: 1 } };
        putWorkload(KINDS.statefulSets, "db", { spec: { updateStrategy } });
      },
      "statefulset shop/db: keeps pods below its partition",
    ],
  ] as const) {
    it(`should delete nothing while there is ${what}, and say what to do`, async function () {
      put();
      const error: unknown = await uninstall().catch((err: unknown) => err);
      expect(error).to.have.property("code", "SHIMMY_ERR_TIMEOUT");
      expect(error).to.have.property("message").that.includes(says).and.includes("--force");
      expect(deleted()).to.deep.equal([]);
    });

    it(`should go on in spite of ${what} when forced`, async function () {
      put();
      await uninstall({ force: true });
      expect(lines.join("\n")).to.include("going on although pods still have a sidecar");
      expect(deleted()).to.include("daemonsets/shimmy-agent");
    });
  }

  it("should give up on a rollout that does not end, and delete nothing", async function () {
    putWorkload(KINDS.deployments, "web", { annotations: KEYS });
    putWorkload(KINDS.deployments, "slow", { spec: { replicas: 2 } });
    const error: unknown = await uninstall({ timeoutMs: 50 }).catch((err: unknown) => err);
    expect(error).to.have.property("message").that.includes("not done in time");
    expect(error).to.have.property("message").that.includes("deployment shop/slow");
    expect(deleted()).to.deep.equal([]);
  });

  it("should wait for Jobs to end", async function () {
    const owner = { kind: "Job", name: "night-1", controller: true };
    putPod(server, "night-1-x", { owner });
    const done = uninstall();
    putPod(server, "night-1-x", { owner, status: { phase: "Succeeded" } });
    await done;
    expect(deleted()).to.include("daemonsets/shimmy-agent");
  });

  it("should go on where it was stopped", async function () {
    putWorkload(KINDS.deployments, "web", { annotations: KEYS });
    runControllers();
    const controllers = server.intercept;
    let isDown = true;
    server.intercept = (request) =>
      isDown && request.method === "DELETE" && request.path.includes("daemonsets")
        ? failure(403, "Forbidden", "not you")
        : controllers(request);
    const error: unknown = await uninstall().catch((err: unknown) => err);
    expect(error).to.have.property("status", 403);
    isDown = false;
    lines = [];
    await uninstall();
    expect(lines.join("\n")).to.not.include("removing").and.not.include("mutatingwebhook");
    expect(lines.join("\n")).to.include("deleting daemonset shimmy-system/shimmy-agent");
  });

  it("should say who puts keys back", async function () {
    putWorkload(KINDS.deployments, "web", { annotations: KEYS });
    server.intercept = ({ method, path }) => {
      if (method === "GET" && path === "/api/v1/pods") {
        const web = server.get(KINDS.deployments, "web", "shop");
        if (web !== undefined) {
          server.put(KINDS.deployments, {
            ...web,
            metadata: { ...web.metadata, annotations: KEYS },
          });
        }
      }
      return undefined;
    };
    const error: unknown = await uninstall().catch((err: unknown) => err);
    expect(error)
      .to.have.property("message")
      .that.includes("deployment shop/web has its keys again");
  });

  it("should keep a namespace in which somebody else's pods are", async function () {
    putPod(server, "guest", { namespace: SYSTEM, sidecar: false });
    await uninstall();
    expect(lines).to.include("namespace shimmy-system: kept, because of pod shimmy-system/guest");
    expect(deleted()).to.not.include("namespaces/shimmy-system");
  });

  it("should delete nothing with --workloads-only", async function () {
    putWorkload(KINDS.deployments, "web", { annotations: KEYS });
    runControllers();
    await uninstall({ workloadsOnly: true });
    expect(deleted()).to.deep.equal([]);
    expect(lines.at(-1)).to.equal("No workload opts in any more.");
  });

  it("should change nothing in a dry run, and say what it would do", async function () {
    putWorkload(KINDS.deployments, "web", { annotations: KEYS });
    putPod(server, "lonely");
    await uninstall({ dryRun: true, definitions: true });
    expect(server.requests.filter(({ method }) => method !== "GET")).to.deep.equal([]);
    expect(lines).to.include.members([
      "deployment shop/web: would remove shimmy.io/inject=enabled, shimmy.io/upstreams=nginx:9001",
      "would wait for new pods of deployment shop/web",
      "would stop, without --force, at pod shop/lonely: nobody makes it again; delete it, or make it anew",
      "would delete daemonset shimmy-system/shimmy-agent",
      "would delete customresourcedefinition shimmynodes.shimmy.io",
      "Nothing was changed: this was a dry run.",
    ]);
  });
});
