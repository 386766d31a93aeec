import { expect } from "chai";

import { injectManifest } from "../../cli/inject/manifest.ts";
import { readInjectionConfig } from "../../injector/config.ts";
import { APPS_IMAGE, Cluster, SHIMMY_IMAGE } from "../helpers/cluster.ts";
import { eventually } from "../helpers/eventually.ts";

const REQUESTS = 1000;
const IN_TIME_MS = 30_000;

/** nginx and clients of it, one on its node and one on another; they do nothing by themselves. */
const PROGRAMS = `
${deployment("nginx", "n1", {}, "")}
---
apiVersion: v1
kind: Service
metadata: { name: nginx, namespace: default }
spec: { selector: { app: nginx }, ports: [{ port: 80, targetPort: 8080 }] }
---
${deployment("near", "n1", { "shimmy.io/upstreams": "nginx:9001" }, "command: [sleep, '1000000']")}
---
${deployment("far", "n2", { "shimmy.io/upstreams": "nginx:9001" }, "command: [sleep, '1000000']")}
`;

function deployment(
  name: string,
  node: string,
  annotations: Readonly<Record<string, string>>,
  command: string,
): string {
  const keys = { "shimmy.io/inject": "enabled", ...annotations };
  return `apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: default, annotations: ${JSON.stringify(keys)} }
spec:
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      nodeName: ${node}
      terminationGracePeriodSeconds: 1
      containers:
        - name: ${name}
          image: ${APPS_IMAGE}
          imagePullPolicy: Never
          ports: ${name === "nginx" ? "[{ containerPort: 8080 }]" : "[]"}
          ${command}`;
}

describe("streams between pods of a cluster", function () {
  this.timeout(300_000);
  let cluster: Cluster;
  let near: string;
  let far: string;

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start();
    await cluster.install();
    await cluster.rolledOut("daemonset/shimmy-agent", "shimmy-system");
    const config = readInjectionConfig({ image: SHIMMY_IMAGE });
    const { text } = injectManifest(PROGRAMS, { config, defaultNamespace: "default" });
    await cluster.apply(text);
    for (const name of ["nginx", "near", "far"]) await cluster.rolledOut(`deployment/${name}`);
    const only = async (app: string): Promise<string> =>
      (await cluster.pods(`app=${app}`))[0] ?? "";
    near = await only("near");
    far = await only("far");
    for (const pod of [near, far]) {
      await eventually("the upstream to be known", async () => {
        return (await get(pod)).includes("hello");
      });
    }
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await cluster.describe());
  });

  after(async function () {
    await cluster.close();
  });

  /** One request, as any program would make it. */
  async function get(pod: string): Promise<string> {
    const container = pod.split("-", 1)[0] ?? "";
    const line = 'curl -s --max-time 5 "$SHIMMY_NGINX_HOST:$SHIMMY_NGINX_PORT/" || true';
    return cluster.exec(pod, container, "sh", "-c", line);
  }

  /** Many requests one after another, each on a connection of its own; says how many failed. */
  async function getMany(pod: string, count = REQUESTS, pause = "0"): Promise<number> {
    const container = pod.split("-", 1)[0] ?? "";
    const line = `failed=0; for i in $(seq ${count}); do
        curl -s -o /dev/null --max-time 5 "$SHIMMY_NGINX_HOST:$SHIMMY_NGINX_PORT/" || failed=$((failed+1))
        sleep ${pause}
      done; echo $failed`;
    return Number(await cluster.exec(pod, container, "sh", "-c", line));
  }

  it("should go through shared memory on one node, and not over the pods' network", async function () {
    const before = await cluster.metrics(near);
    const sent = await cluster.packetsSent(near, "near");
    expect(await getMany(near)).to.equal(0);
    const packets = (await cluster.packetsSent(near, "near")) - sent;
    const after = await cluster.metrics(near);
    expect(after.outbound("shm") - before.outbound("shm")).to.equal(REQUESTS);
    expect(after.outbound("tcp")).to.equal(before.outbound("tcp"));
    expect(packets).to.be.below(REQUESTS / 100);
  });

  it("should go over TCP between nodes, and say why", async function () {
    const before = await cluster.metrics(far);
    expect(await getMany(far, 100)).to.equal(0);
    const after = await cluster.metrics(far);
    expect(after.outbound("tcp") - before.outbound("tcp")).to.equal(100);
    expect(after.outbound("shm")).to.equal(0);
    const reason = { reason: "other_node_no_fabric" };
    expect(after.sum("shimmy_fallbacks_total", reason)).to.equal(after.outbound("tcp"));
  });

  it("should go on while the agents are rolled out anew, and be carried again after", async function () {
    const [failed] = await Promise.all([
      getMany(near, 300, "0.02"),
      cluster.kubectl("-n", "shimmy-system", "rollout", "restart", "daemonset/shimmy-agent"),
    ]);
    expect(failed).to.equal(0);
    await cluster.rolledOut("daemonset/shimmy-agent", "shimmy-system");
    await eventually(
      "requests to be carried again",
      async () => {
        const before = (await cluster.metrics(near)).outbound("shm");
        await get(near);
        return (await cluster.metrics(near)).outbound("shm") > before;
      },
      IN_TIME_MS,
    );
  });

  it("should follow a NetworkPolicy, and give the reason", async function () {
    await cluster.apply(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: closed, namespace: default }
spec: { podSelector: { matchLabels: { app: nginx } }, policyTypes: [Ingress] }
`);
    const reason = { reason: "policy_denied" };
    await eventually(
      "the policy to count",
      async () => {
        await get(near);
        return (await cluster.metrics(near)).sum("shimmy_fallbacks_total", reason) > 0;
      },
      IN_TIME_MS,
    );
    const denied = (await cluster.metrics(near)).outbound("shm");
    await get(near);
    expect((await cluster.metrics(near)).outbound("shm")).to.equal(denied);
    await cluster.kubectl("delete", "networkpolicy", "closed");
    await eventually(
      "requests to be carried again",
      async () => {
        await get(near);
        return (await cluster.metrics(near)).outbound("shm") > denied;
      },
      IN_TIME_MS,
    );
  });

  it("should be off and on again by a setting of the cluster, without new pods", async function () {
    const set = (value: string): Promise<string> =>
      cluster.kubectl(
        ...["-n", "shimmy-system", "patch", "configmap", "shimmy-config", "--type=merge", "-p"],
        JSON.stringify({ data: { transport: value } }),
      );
    const reason = { reason: "disabled" };
    await set("tcp");
    await eventually("the switch to count", async () => {
      await get(near);
      return (await cluster.metrics(near)).sum("shimmy_fallbacks_total", reason) > 0;
    });
    const off = (await cluster.metrics(near)).outbound("shm");
    await set("auto");
    await eventually("requests to be carried again", async () => {
      await get(near);
      return (await cluster.metrics(near)).outbound("shm") > off;
    });
    expect((await cluster.pods("app=near"))[0]).to.equal(near);
  });

  it("should leave no token in a sidecar's reach", async function () {
    const path = "/var/run/secrets/kubernetes.io/serviceaccount";
    const script = `console.log(require("fs").readdirSync(${JSON.stringify(path)}).length)`;
    expect(
      await cluster.exec(near, "shimmy-sidecar", "/usr/local/bin/node", "-e", script),
    ).to.equal("0");
    // The application has its own, as before.
    expect(await cluster.exec(near, "near", "ls", path)).to.include("token");
  });
});
