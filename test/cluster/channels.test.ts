import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import type { AgentMessage } from "../../agent/api.ts";
import { injectManifest } from "../../cli/inject/manifest.ts";
import { PACKAGE_ROOT } from "../../common/version.ts";
import { readInjectionConfig } from "../../injector/config.ts";
import { Cluster, SHIMMY_IMAGE } from "../helpers/cluster.ts";
import { eventually } from "../helpers/eventually.ts";

const IN_TIME_MS = 30_000;
const SCRIPT = readFileSync(join(PACKAGE_ROOT, "test/fixtures/channel-pod.js"), "utf8");

/** What a pod printed. */
type Line = AgentMessage | { readonly type: "bell" | "hungUp" | "notConnected" };

const CHANNEL = `apiVersion: shimmy.io/v1alpha1
kind: SharedMemoryObject
metadata: { name: jobs, namespace: default }
spec:
  type: Stream
  publishers: { podSelector: { matchLabels: { app: feed } } }
  subscribers: { containers: [reader] }
  capacity: { blocks: 4, blockBytes: 4096 }
`;

/** Pods that take a role, or try to. */
function deployment(
  name: string,
  { role, topic, namespace = "default" }: { role: string; topic: string; namespace?: string },
): string {
  const args = JSON.stringify(["--input-type=module", "-e", SCRIPT]);
  return `apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: ${namespace}, annotations: { shimmy.io/inject: enabled } }
spec:
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      nodeName: n1
      terminationGracePeriodSeconds: 1
      containers:
        - name: ${name}
          image: ${SHIMMY_IMAGE}
          imagePullPolicy: Never
          command: [/usr/local/bin/node]
          args: ${args}
          env:
            - { name: CHANNEL_ROLE, value: ${role} }
            - { name: CHANNEL_TOPIC, value: ${topic} }
`;
}

const PROGRAMS = [
  deployment("feed", { role: "producer", topic: "jobs" }),
  deployment("reader", { role: "consumer", topic: "jobs" }),
  deployment("nobody", { role: "consumer", topic: "jobs" }),
  deployment("lost", { role: "producer", topic: "none" }),
  deployment("guest", { role: "consumer", topic: "default/jobs", namespace: "other" }),
].join("---\n");

describe("channels between pods of a cluster", function () {
  this.timeout(300_000);
  let cluster: Cluster;

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start();
    await cluster.install();
    await cluster.rolledOut("daemonset/shimmy-agent", "shimmy-system");
    await cluster.kubectl("create", "namespace", "other");
    const config = readInjectionConfig({ image: SHIMMY_IMAGE });
    const { text } = injectManifest(PROGRAMS, { config, defaultNamespace: "default" });
    await cluster.apply(text);
    for (const name of ["feed", "reader", "nobody", "lost"]) {
      await cluster.rolledOut(`deployment/${name}`);
    }
    await cluster.rolledOut("deployment/guest", "other");
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await cluster.describe());
  });

  after(async function () {
    await cluster.close();
  });

  async function podOf(name: string, namespace = "default"): Promise<string> {
    return (await cluster.pods(`app=${name}`, namespace))[0] ?? "";
  }

  async function linesOf(pod: string, namespace = "default"): Promise<Line[]> {
    const [container = ""] = pod.split("-", 1);
    const text = await cluster.kubectl("-n", namespace, "logs", pod, "-c", container);
    return text
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Line);
  }

  /** Waits for a line that a pod prints. */
  async function printed<T extends Line["type"]>(
    pod: string,
    type: T,
    fits: (line: Line & { type: T }) => boolean = () => true,
    namespace = "default",
  ): Promise<Line & { type: T }> {
    return eventually(
      `${pod} to print ${type}`,
      async () => {
        const lines = await linesOf(pod, namespace);
        return lines.find(
          (line): line is Line & { type: T } => line.type === type && fits(line as never),
        );
      },
      IN_TIME_MS,
    );
  }

  it("should not be there before an object declares them", async function () {
    const refusal = await printed(await podOf("feed"), "channelRefused");
    expect(refusal).to.include({ code: "SHIMMY_ERR_TOPIC_DENIED", reason: "not_declared" });
  });

  it("should connect pods with roles, with the object's sizes", async function () {
    await cluster.apply(CHANNEL);
    const [feed, reader] = [await podOf("feed"), await podOf("reader")];
    const { channel } = await printed(feed, "channelAttached");
    expect(channel).to.include({
      topic: "default/jobs",
      kind: "lock",
      blocks: 4,
      blockBytes: 4096,
    });
    expect((await printed(reader, "channelAttached")).channel).to.deep.equal(channel);
    const { peer } = await printed(reader, "channelPeer");
    expect(peer).to.include({ name: feed, namespace: "default", node: "n1" });
    for (const pod of [feed, reader]) await printed(pod, "bell");
    await cluster.kubectl("wait", "--for=condition=Ready", "smo/jobs", "--timeout=30s");
    await cluster.kubectl(
      "wait",
      "--for=jsonpath={.status.attached}=2",
      "shimmynode/n1",
      "--timeout=30s",
    );
  });

  it("should refuse pods without a role, of other namespaces, and topics of no object", async function () {
    const guest = await podOf("guest", "other");
    const inOther = await printed(guest, "channelRefused", () => true, "other");
    expect(inOther.reason).to.equal("other_namespace");
    await printed(await podOf("nobody"), "channelRefused", ({ reason }) => reason === "no_role");
    await printed(await podOf("lost"), "channelRefused", ({ reason }) => reason === "not_declared");
  });

  it("should let others stand by, and take over when the pod is gone", async function () {
    const first = await podOf("feed");
    await cluster.kubectl("scale", "deployment/feed", "--replicas=2");
    await cluster.rolledOut("deployment/feed");
    const second = (await cluster.pods("app=feed")).find((pod) => pod !== first) ?? "";
    expect((await printed(second, "channelAttached")).state).to.equal("standby");
    await cluster.kubectl("delete", "pod", first, "--wait=false");
    const { generation } = await printed(second, "channelState", ({ state }) => state === "live");
    expect(generation).to.be.greaterThan(0);
    await printed(await podOf("reader"), "hungUp");
  });

  it("should end attachments when the object is deleted", async function () {
    await cluster.kubectl("delete", "smo", "jobs");
    const { code } = await printed(await podOf("reader"), "channelDetached");
    expect(code).to.equal("SHIMMY_ERR_TOPIC_DENIED");
  });
});
