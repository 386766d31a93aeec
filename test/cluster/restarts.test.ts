import { expect } from "chai";

import { Cluster, type PodMetrics } from "../helpers/cluster.ts";
import {
  connectionsSince,
  readClientLog,
  webClient,
  webServer,
  webService,
  workload,
} from "../helpers/cluster-workloads.ts";
import { eventually } from "../helpers/eventually.ts";

const ENABLED = { "shimmy.io/inject": "enabled" };
const CALLS_NGINX = { ...ENABLED, "shimmy.io/upstreams": "nginx:9001" };
const IN_TIME_MS = 60_000;

/** What curl ends with: https://curl.se/libcurl/c/libcurl-errors.html */
const CURL = { ok: "0", refused: "7", reset: "56" };

/**
 * A pod whose sidecar the kernel holds to a limit, as little as one may set. In the class Guaranteed
 * processes are not marked for the kernel to kill, so that one can be.
 */
const CALLER = workload("caller", {
  annotations: {
    ...CALLS_NGINX,
    "config.shimmy.io/ring-budget": "4Mi",
    "config.shimmy.io/memory-limit": "68Mi",
  },
  container: { resources: { limits: { cpu: "500m", memory: "32Mi" } } },
  pod: { nodeName: "n1" },
});

const BUDGET = {
  apiVersion: "policy/v1",
  kind: "PodDisruptionBudget",
  metadata: { name: "nginx", namespace: "default" },
  spec: { minAvailable: 1, selector: { matchLabels: { app: "nginx" } } },
};

interface ContainerStatus {
  readonly name: string;
  readonly containerID: string;
  readonly restartCount: number;
  readonly ready: boolean;
  readonly lastState: { readonly terminated?: { readonly reason: string } };
}

interface PodStatus {
  readonly containerStatuses: readonly ContainerStatus[];
  readonly initContainerStatuses: readonly ContainerStatus[];
}

interface Deployment {
  readonly metadata: { readonly name: string };
  readonly status: { readonly availableReplicas?: number };
}

describe("restarts of sidecars and nodes", function () {
  this.timeout(180_000);
  let cluster: Cluster;

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start();
    await cluster.install();
    await cluster.rolledOut("deployment/shimmy-injector", "shimmy-system");
    await cluster.rolledOut("daemonset/shimmy-agent", "shimmy-system");
    await cluster.kubectl("cordon", "n1");
    await apply(webServer("nginx", { replicas: 2, annotations: ENABLED }));
    await apply(webService("nginx"), BUDGET);
    await cluster.rolledOut("deployment/nginx");
    await cluster.kubectl("uncordon", "n1");
    await apply(webClient("client", { annotations: CALLS_NGINX, pod: { nodeName: "n1" } }), CALLER);
    for (const name of ["client", "caller"]) await cluster.rolledOut(`deployment/${name}`);
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await cluster.describe());
  });

  after(async function () {
    await cluster.close();
  });

  async function apply(...objects: readonly object[]): Promise<void> {
    await cluster.apply(objects.map((each) => JSON.stringify(each)).join("\n---\n"));
  }

  async function only(app: string): Promise<string> {
    return (await cluster.pods(`app=${app}`))[0] ?? "";
  }

  async function agentOf(node: string): Promise<PodMetrics> {
    const pod = await cluster.kubectl(
      ...["-n", "shimmy-system", "get", "pods", "-l", "app.kubernetes.io/component=agent"],
      ...[`--field-selector=spec.nodeName=${node}`, "-o", "jsonpath={.items[*].metadata.name}"],
    );
    return cluster.scrape(await cluster.addressOf(pod, "shimmy-system"));
  }

  describe("drain of a node", function () {
    /** Fewest pods that some Deployments had available until `act` was over. */
    async function fewestDuring(act: () => Promise<unknown>): Promise<Map<string, number>> {
      const fewest = new Map<string, number>();
      let isOver = false;
      const looking = async (): Promise<void> => {
        while (!isOver) {
          const text = await cluster.kubectl("get", "deployments", "-A", "-o", "json");
          for (const { metadata, status } of (JSON.parse(text) as { items: Deployment[] }).items) {
            const { availableReplicas = 0 } = status;
            const least = Math.min(fewest.get(metadata.name) ?? Infinity, availableReplicas);
            fewest.set(metadata.name, least);
          }
        }
      };
      const acting = act().finally(() => {
        isOver = true;
      });
      await Promise.all([acting, looking()]);
      return fewest;
    }

    it("should move what opted in, and carry it there, without a request lost", async function () {
      const client = await only("client");
      const before = await cluster.metrics(client);
      const fewest = await fewestDuring(() =>
        cluster.kubectl("drain", "n2", "--ignore-daemonsets", "--delete-emptydir-data"),
      );
      for (const name of ["nginx", "shimmy-injector", "shimmy-master"]) {
        expect(fewest.get(name), name).to.be.at.least(1);
      }
      await cluster.rolledOut("deployment/nginx");
      const reason = { reason: "other_node_no_fabric" };
      expect(before.outbound("shm")).to.equal(0);
      expect(before.sum("shimmy_fallbacks_total", reason)).to.be.above(0);

      const moved = await cluster.metrics(client);
      const { shm, tcp } = await eventually(
        "requests to the moved pods",
        async () => {
          const since = connectionsSince(moved, await cluster.metrics(client));
          return since.shm + since.tcp > 50 ? since : undefined;
        },
        IN_TIME_MS,
      );
      expect(tcp).to.be.below(shm / 10);
      const logs = ["fresh", "kept"].map((name) => cluster.kubectl("logs", client, "-c", name));
      for (const text of await Promise.all(logs)) {
        expect(readClientLog(text).failures).to.deep.equal([]);
      }
      for (const name of ["shimmy-injector", "shimmy-master"]) {
        await cluster.rolledOut(`deployment/${name}`, "shimmy-system");
      }
    });

    const sockets = (agent: PodMetrics, result: string): number =>
      agent.sum("shimmy_agent_pod_sockets_total", { result });

    it("should leave nothing on the node but its agent", async function () {
      const names = await cluster.kubectl(
        ...["get", "pods", "-A", "--field-selector=spec.nodeName=n2"],
        ...["-o", "jsonpath={.items[*].metadata.labels.app\\.kubernetes\\.io/component}"],
      );
      expect(names).to.equal("agent");
      const agent = await eventually(
        "the agent to have forgotten the pods",
        async () => {
          const metrics = await agentOf("n2");
          const [opened, closed] = [sockets(metrics, "opened"), sockets(metrics, "closed")];
          return opened >= 2 && closed === opened ? metrics : undefined;
        },
        IN_TIME_MS,
      );
      for (const what of ["sidecars", "sessions", "failed_pods"]) {
        expect(agent.sum(`shimmy_agent_${what}`), what).to.equal(0);
      }
      const processes = await cluster.run("in_ns n2 ps -eo args");
      expect(processes).to.match(/bin\.js agent$/m);
      expect(processes).not.to.match(/bin\.js sidecar$/m);
    });
  });

  describe("a sidecar that the kernel kills for want of memory", function () {
    // So much that it is still being sent when the sidecar dies, and so fast that what the sockets
    // hold, which is read before the reset is seen, is read soon.
    const BIG = "256M";
    const RATE = "4M";

    async function inCaller(script: string): Promise<string> {
      return cluster.exec(await only("caller"), "caller", "sh", "-c", script);
    }

    const url = (path: string): string => `"http://\${SHIMMY_NGINX_URL#*://}/${path}"`;

    /** Makes requests one after another, and says what curl ended with, each once. */
    async function answers(count: number): Promise<string[]> {
      const text = await inCaller(`for i in $(seq ${count}); do
          curl -s -o /dev/null --max-time 5 ${url("")}; echo $?
        done | sort -un`);
      return text.split("\n");
    }

    async function statusOf(pod: string): Promise<PodStatus> {
      const text = await cluster.kubectl("get", "pod", pod, "-o", "jsonpath={.status}");
      return JSON.parse(text) as PodStatus;
    }

    async function sidecarStatus(pod: string): Promise<ContainerStatus | undefined> {
      const { initContainerStatuses } = await statusOf(pod);
      return initContainerStatuses.find(({ name }) => name === "shimmy-sidecar");
    }

    /** What the servers and the agent hold for the caller and others. */
    async function held(): Promise<Readonly<Record<string, number>>> {
      const agent = await agentOf("n1");
      const servers = await Promise.all(
        (await cluster.pods("app=nginx")).map((pod) => cluster.metrics(pod)),
      );
      const sum = (name: string, labels = {}): number =>
        servers.reduce((total, metrics) => total + metrics.sum(name, labels), 0);
      return {
        agentSessions: agent.sum("shimmy_agent_sessions"),
        agentSidecars: agent.sum("shimmy_agent_sidecars"),
        sessions: sum("shimmy_sessions"),
        open: sum("shimmy_open_connections"),
        ownRings: sum("shimmy_ring_bytes", { owner: "own" }),
        peerRings: sum("shimmy_ring_bytes", { owner: "peer" }),
        fds: sum("process_open_fds"),
      };
    }

    /**
     * Makes the kernel kill the sidecar. Of all processes in a container it takes the one with the
     * highest score, and the allocating one is made to have the lower.
     */
    async function exhaustMemory(pod: string): Promise<void> {
      const script = `require("fs").writeFileSync("/proc/1/oom_score_adj", "1000");
        for (const kept = []; ; ) kept.push(Buffer.alloc(1024 ** 2, 1));`;
      const result = await cluster
        .exec(pod, "shimmy-sidecar", "/usr/local/bin/node", "-e", script)
        .catch(String);
      expect(result).to.include("137");
    }

    before(async function () {
      // The client's own connections would come and go between two looks.
      await cluster.kubectl("scale", "deployment/client", "--replicas=0");
      await cluster.kubectl("wait", "--for=delete", "pod", "-l", "app=client", "--timeout=60s");
      for (const pod of await cluster.pods("app=nginx")) {
        await cluster.exec(pod, "nginx", "truncate", "-s", BIG, "/srv/big");
      }
    });

    it("should be told to the application by resets, and carry again when it is back", async function () {
      const pod = await only("caller");
      expect(await answers(50)).to.deep.equal([CURL.ok]);
      const before = await held();
      const slow = inCaller(
        `curl -s -o /dev/null --limit-rate ${RATE} --max-time 60 ${url("big")}; echo $?`,
      );
      await eventually("the long answer to be on its way", async () => {
        return (
          (await cluster.metrics(pod)).sum("shimmy_open_connections", { transport: "shm" }) > 0
        );
      });
      const meanwhile = inCaller(`until [ -e /tmp/enough ]; do
          curl -s -o /dev/null --max-time 5 ${url("")}; echo $?
        done | sort -un`);

      await exhaustMemory(pod);
      const restarted = await eventually(
        "the sidecar to be back",
        async () => {
          const status = await sidecarStatus(pod);
          return status?.restartCount === 1 && status.ready ? status : undefined;
        },
        IN_TIME_MS,
      );
      expect(restarted.lastState.terminated?.reason).to.equal("OOMKilled");
      expect(await slow).to.equal(CURL.reset);
      await inCaller("touch /tmp/enough");
      const ends = (await meanwhile).split("\n");
      expect([CURL.ok, CURL.refused, CURL.reset]).to.include.members(ends);
      expect(ends).to.include(CURL.refused);

      const first = await cluster.metrics(pod);
      expect(await answers(50)).to.deep.equal([CURL.ok]);
      const since = connectionsSince(first, await cluster.metrics(pod));
      expect(since).to.deep.equal({ shm: 50, tcp: 0 });
      await eventually("what the dead one had to be given back", async () => {
        const now = await held();
        return Object.entries(before).every(([what, count]) => (now[what] ?? 0) <= count);
      });
    });

    it("should leave the application as it was", async function () {
      const { containerStatuses } = await statusOf(await only("caller"));
      expect(containerStatuses.map(({ restartCount }) => restartCount)).to.deep.equal([0]);
    });
  });
});
