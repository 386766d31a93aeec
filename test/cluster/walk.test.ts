import { expect } from "chai";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { PACKAGE_ROOT } from "../../common/version.ts";
import { APPS_IMAGE, Cluster } from "../helpers/cluster.ts";
import { eventually } from "../helpers/eventually.ts";
import { readWalk } from "../helpers/readme-walk.ts";

const EXAMPLE = "examples/kubernetes/nginx-and-client.yaml";
/** To look at the counters is traffic on the interface that is measured: so a time, and two looks. */
const LOOK_MS = 5000;
const REQUESTS = 100;
const IN_TIME_MS = 60_000;

interface SystemPod {
  readonly status: { readonly containerStatuses: readonly { readonly restartCount: number }[] };
}

interface Deployment {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: { readonly template: unknown };
}

describe("the README's walk through a cluster", function () {
  this.timeout(600_000);
  let cluster: Cluster;
  let unchanged: readonly Deployment[];
  const lines = readWalk();

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start();
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await cluster.describe());
  });

  after(async function () {
    await cluster.close();
  });

  /** Runs the next lines, up to and with the last that has `word`, as they stand but for the images. */
  async function walkTo(word: string): Promise<string> {
    const example = join(cluster.directory, "example.yaml");
    const text = readFileSync(join(PACKAGE_ROOT, EXAMPLE), "utf8");
    const images = `image: ${APPS_IMAGE}\n          imagePullPolicy: Never`;
    writeFileSync(example, text.replaceAll(/image: nginx\b/g, images));
    let last = "";
    while (lines.length > 0 && lines.some((line) => line.includes(word))) {
      const line = lines.shift() ?? "";
      last = await cluster.run(
        line.replace("manifests/install", cluster.installDirectory).replace(EXAMPLE, example),
      );
      if (line.includes(word) && !(lines[0]?.includes(word) ?? false)) break;
    }
    return last;
  }

  async function deployments(): Promise<readonly Deployment[]> {
    const text = await cluster.kubectl("get", "deployments", "-o", "json");
    return (JSON.parse(text) as { items: readonly Deployment[] }).items;
  }

  async function only(app: string): Promise<string> {
    return eventually(`one pod of ${app}`, async () => {
      const pods = await cluster.pods(`app=${app}`);
      return pods.length === 1 ? pods[0] : undefined;
    });
  }

  /** Makes requests as the client does, one after another; says how many were not answered. */
  async function failures(count: number): Promise<number> {
    const line = `url="\${SHIMMY_NGINX_URL:-tcp://nginx}"; failed=0
      for i in $(seq ${count}); do
        curl --silent --output /dev/null --max-time 1 "http://\${url#*://}/" || failed=$((failed+1))
      done; echo $failed`;
    return Number(await cluster.exec(await only("client"), "client", "sh", "-c", line));
  }

  /**
   * Waits for what Kubernetes itself lets fail: for a moment it sends requests to pods that are not
   * there yet or no more. From then on every request has to be answered.
   */
  async function expectServed(): Promise<void> {
    await eventually(
      "ten requests to be answered",
      async () => (await failures(10)) === 0,
      IN_TIME_MS,
    );
    expect(await failures(REQUESTS)).to.equal(0);
  }

  it("should install", async function () {
    expect(await walkTo("shimmy check --wait")).to.include("certificate");
    const text = await cluster.kubectl("-n", "shimmy-system", "get", "pods", "-o", "json");
    const { items } = JSON.parse(text) as { items: readonly SystemPod[] };
    const restarts = items.flatMap(({ status }) =>
      status.containerStatuses.map(({ restartCount }) => restartCount),
    );
    expect(restarts.filter((count) => count > 0)).to.deep.equal([]);
  });

  it("should serve two ordinary programs as they are", async function () {
    await walkTo("rollout status");
    unchanged = await deployments();
    await expectServed();
  });

  it("should carry them through shared memory once they are annotated", async function () {
    await walkTo("annotate");
    await walkTo("rollout status");
    const client = await only("client");
    await only("nginx");
    await eventually("connections to be carried", async () => {
      return (await cluster.metrics(client)).outbound("shm") > 0;
    });
    const first = await cluster.metrics(client);
    const sent = await cluster.packetsSent(client, "client");
    await delay(LOOK_MS);
    const packets = (await cluster.packetsSent(client, "client")) - sent;
    const last = await cluster.metrics(client);
    const requests = last.outbound("shm") - first.outbound("shm");
    expect(requests).to.be.above(50);
    expect(last.outbound("tcp")).to.equal(first.outbound("tcp"));
    expect(packets).to.be.at.most(Math.max(2, requests / 100));
    await expectServed();
  });

  it("should show it", async function () {
    expect(await walkTo("shimmy top")).to.match(/nginx/);
  });

  it("should leave all as before when the annotations are taken away", async function () {
    await walkTo("annotate");
    await walkTo("rollout status");
    await only("client");
    await only("nginx");
    const after = await deployments();
    expect(after.map(({ spec }) => spec.template)).to.deep.equal(
      unchanged.map(({ spec }) => spec.template),
    );
    await expectServed();
    expect(lines).to.deep.equal([]);
  });

  it("should take itself out again, and leave its kind alone", async function () {
    await cluster.run("shimmy uninstall --timeout 120");
    const kinds = "all,clusterroles,mutatingwebhookconfigurations,priorityclasses,leases,secrets";
    const left = await cluster.kubectl(
      ...["get", kinds, "-A", "-l", "app.kubernetes.io/part-of=shimmy", "-o", "name"],
    );
    expect(left).to.equal("");
  });
});
