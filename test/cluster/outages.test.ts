import { expect } from "chai";
import { X509Certificate } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";

import { certificatesOf } from "../../common/certificates.ts";
import { CERTIFICATE_SECRETS } from "../../common/kubernetes/vocabulary.ts";
import { issueAuthority, issueServer, type KeyPair } from "../../master/certificates/issue.ts";
import { Cluster, PodMetrics } from "../helpers/cluster.ts";
import {
  connectionsSince,
  programContainer,
  readClientLog,
  webClient,
  webServer,
  webService,
  workload,
} from "../helpers/cluster-workloads.ts";
import { eventually } from "../helpers/eventually.ts";

const SYSTEM = "shimmy-system";
const ENABLED = { "shimmy.io/inject": "enabled" };
const CALLS_NGINX = { ...ENABLED, "shimmy.io/upstreams": "nginx:9001" };
const IN_TIME_MS = 60_000;
const OUTAGE_MS = 60_000;
const LOOK_MS = 10_000;
const NEWCOMER_WAITS_SECONDS = 15;
const NOTHING = new PodMetrics("");
/** The client makes some twenty requests on new connections a second. */
const REQUESTS_PER_LOOK = 50;
const DAY_MS = 86_400_000;
/** Of a large file, and more than all else receives. */
const STREAM_BYTES = 4 * 1024 ** 2;
const INJECTOR_HOST = "shimmy-injector.shimmy-system.svc";

/** What is in a Secret of the master's. */
interface Kept extends KeyPair {
  readonly bundle: string;
}

interface Pods {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly uid: string };
    readonly status: {
      readonly podIP: string;
      readonly containerStatuses: readonly { readonly restartCount: number }[];
    };
  }[];
}

describe("a cluster of which parts are away", function () {
  this.timeout(240_000);
  let cluster: Cluster;
  let client: string;
  let address: string;

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start(1);
    await cluster.install();
    await cluster.rolledOut("deployment/shimmy-injector", SYSTEM);
    await cluster.rolledOut("daemonset/shimmy-agent", SYSTEM);
    await injectionWorks();
    await apply(webServer("nginx", { annotations: ENABLED }), webService("nginx"));
    await cluster.rolledOut("deployment/nginx");
    await apply(webClient("client", { annotations: CALLS_NGINX }));
    await cluster.rolledOut("deployment/client");
    client = (await cluster.pods("app=client"))[0] ?? "";
    address = await cluster.addressOf(client);
    await eventually("requests to be carried", async () => {
      return (await cluster.scrape(address)).outbound("shm") > REQUESTS_PER_LOOK;
    });
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await cluster.describe());
  });

  after(async function () {
    await cluster.close();
  });

  async function apply(...objects: readonly object[]): Promise<void> {
    await cluster.apply(objects.map((object) => JSON.stringify(object)).join("\n---\n"));
  }

  /** Until the master has made the certificates, what opted in is not admitted. */
  async function injectionWorks(): Promise<void> {
    const trial = cluster.write(pendingPod());
    await eventually(
      "injection",
      () =>
        cluster.kubectl("create", "--dry-run=server", "-f", trial).then(
          () => true,
          () => false,
        ),
      IN_TIME_MS,
    );
  }

  /** Every request of the client that was not answered, since it started. */
  async function failures(): Promise<readonly string[]> {
    const logs = ["fresh", "kept"].map((container) =>
      cluster.kubectl("logs", client, "-c", container),
    );
    return (await Promise.all(logs)).flatMap((text) => readClientLog(text).failures);
  }

  async function systemPods(component: string): Promise<Pods["items"]> {
    const label = `app.kubernetes.io/component=${component}`;
    const text = await cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", label, "-o", "json");
    return (JSON.parse(text) as Pods).items;
  }

  async function agentMetrics(): Promise<PodMetrics> {
    const [agent] = await systemPods("agent");
    return cluster.scrape(agent?.status.podIP ?? "");
  }

  it("should admit every pod while CA and certificate are replaced", async function () {
    const authority = await readSecret(CERTIFICATE_SECRETS.webhookCa);
    const leaf = await readSecret(CERTIFICATE_SECRETS.injectorTls);
    const before = await systemPods("injector");
    expect(await servedBy(before)).to.deep.equal(before.map(() => serialOf(leaf)));

    const load = new Admissions(() => cluster.kubectl("create", "-f", cluster.write(pendingPod())));
    await age(authority);
    const next = await eventually(
      "a certificate of a new CA",
      async () => {
        const { cert: ca } = await readSecret(CERTIFICATE_SECRETS.webhookCa);
        const found = await readSecret(CERTIFICATE_SECRETS.injectorTls);
        const isOfIt = new X509Certificate(found.cert).verify(new X509Certificate(ca).publicKey);
        return isOfIt && serialOf(found) !== serialOf(leaf) ? found : undefined;
      },
      IN_TIME_MS,
    );
    const trusted = await trustedSerials();
    expect(trusted).to.include(serialOf(authority));
    expect(trusted).to.include(serialOf(await readSecret(CERTIFICATE_SECRETS.webhookCa)));

    await eventually(
      "both injectors to show it",
      async () => {
        await touch("pods", "-l", "app.kubernetes.io/component=injector");
        return (await servedBy(before)).every((serial) => serial === serialOf(next));
      },
      IN_TIME_MS,
    );
    // More requests at a time than there are connections: new ones meet the new certificate.
    await load.burst(20);
    const { admitted, refusals } = await load.end();
    expect(refusals).to.deep.equal([]);
    expect(admitted).to.be.above(25);
    expect(await systemPods("injector").then(restartsOf)).to.equal(restartsOf(before));
    await cluster.kubectl("delete", "pods", "-l", "app=pending");
  });

  /** Makes a pod that calls only some time after its start, and gives its address. */
  async function makeNewcomer(): Promise<string> {
    const command = `sleep ${NEWCOMER_WAITS_SECONDS}
      while sleep 0.1; do curl -sf -o /dev/null "$SHIMMY_NGINX_HOST:$SHIMMY_NGINX_PORT/"; done`;
    const container = programContainer("app", { command: ["sh", "-c", command] });
    await apply(barePod("newcomer", { containers: [container] }, CALLS_NGINX));
    await ready("newcomer");
    return cluster.addressOf("newcomer");
  }

  async function ready(pod: string): Promise<void> {
    await cluster.kubectl("wait", "--for=condition=Ready", `pod/${pod}`, "--timeout=120s");
  }

  it("should carry requests on while the API server is down for a minute", async function () {
    const before = await failures();
    const newcomer = await makeNewcomer();
    expect((await cluster.scrape(newcomer)).sum("shimmy_sessions")).to.equal(0);
    let last = await cluster.scrape(address);
    await cluster.fault("kill", "cp", "kube-apiserver");
    const downAt = performance.now();
    while (performance.now() - downAt < OUTAGE_MS) {
      await delay(LOOK_MS);
      const now = await cluster.scrape(address);
      const { shm, tcp } = connectionsSince(last, now);
      expect(shm).to.be.above(REQUESTS_PER_LOOK);
      expect(tcp).to.equal(0);
      last = now;
    }
    // It had not called before, so its session is of an agent that can ask nobody.
    const { shm, tcp } = connectionsSince(NOTHING, await cluster.scrape(newcomer));
    expect(shm).to.be.above(REQUESTS_PER_LOOK);
    expect(tcp).to.equal(0);
    await cluster.fault("start", "cp");
    expect(await failures()).to.deep.equal(before);
  });

  it("should know of what is new once the API server is back", async function () {
    await apply({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "closed", namespace: "default" },
      spec: { podSelector: { matchLabels: { app: "nginx" } }, policyTypes: ["Ingress"] },
    });
    await eventually(
      "the policy to count",
      async () => {
        const metrics = await cluster.scrape(address);
        return metrics.sum("shimmy_fallbacks_total", { reason: "policy_denied" }) > 0;
      },
      IN_TIME_MS,
    );
    await cluster.kubectl("delete", "networkpolicy", "closed");
    // On its node at once: how soon controllers and scheduler are back is not asked. The kubelet too
    // may wait a minute before it asks the API server again (client-go, reflector.go).
    const late = webClient("late") as Workload;
    await apply(barePod("late", { ...late.spec.template.spec, nodeName: "n1" }, CALLS_NGINX));
    await ready("late");
    for (const each of [address, await cluster.addressOf("late")]) {
      const shm = (await cluster.scrape(each)).outbound("shm");
      await eventually(
        "requests to be carried",
        async () => (await cluster.scrape(each)).outbound("shm") > shm,
        IN_TIME_MS,
      );
    }
    await cluster.kubectl("delete", "pod", "late");
  });

  it("should say that all is well again, agent and master", async function () {
    const errors = async (): Promise<number> =>
      (await agentMetrics()).sum("shimmy_agent_watch_events_total", { event: "error" });
    const before = await errors();
    expect(before).to.be.above(0);
    const leaders = async (): Promise<number> => {
      const masters = await systemPods("master");
      const scrapes = await Promise.all(masters.map(({ status }) => cluster.scrape(status.podIP)));
      return scrapes.reduce((sum, each) => sum + each.sum("shimmy_master_leading"), 0);
    };
    await eventually("one master to lead", async () => (await leaders()) === 1, IN_TIME_MS);
    // Kubernetes may hold a node for lost of which it heard nothing, and its pods for not ready.
    await cluster.kubectl("wait", "--for=condition=Ready", "node/n1", "--timeout=60s");
    let failed = await failures();
    await eventually(
      "all requests to be answered",
      async () => {
        const last = failed;
        await delay(LOOK_MS / 2);
        failed = await failures();
        return failed.length === last.length;
      },
      IN_TIME_MS,
    );
    expect(await errors()).to.equal(before);
    expect((await agentMetrics()).sum("shimmy_agent_policy_stale")).to.equal(0);
  });

  it("should leave nothing on a node, and streams as they are, when all of it is deleted", async function () {
    const traces = await tracesOf(await systemPods("agent"));
    expect(traces.processes).to.have.length.above(1);
    expect(traces.mounts).to.have.length.above(0);
    expect(traces.cgroups).to.have.length.above(0);
    expect(await agentSockets()).to.have.length.above(0);

    const before = await failures();
    const agents = await systemPods("agent");
    const first = await cluster.scrape(address);
    const server = (await cluster.pods("app=nginx"))[0] ?? "";
    await cluster.exec(server, "nginx", "truncate", "-s", "300M", "/srv/big");
    const download = { isOver: false };
    const url = "http://${SHIMMY_NGINX_URL#*://}/big";
    const end = (): void => {
      download.isOver = true;
    };
    cluster
      .exec(client, "fresh", "sh", "-c", `curl -sf --limit-rate 1M -o /dev/null "${url}"`)
      .then(end, end);
    await cluster.kubectl("-n", SYSTEM, "delete", "daemonset", "shimmy-agent");
    await cluster.kubectl("delete", "namespace", SYSTEM);

    expect(await tracesOf(agents)).to.deep.equal({ processes: [], mounts: [], cgroups: [] });
    expect(await agentSockets()).to.deep.equal([]);
    const received = async (): Promise<number> => {
      const of = { direction: "received", transport: "shm" };
      return (await cluster.scrape(address)).sum("shimmy_bytes_total", of);
    };
    const until = (await received()) + STREAM_BYTES;
    await eventually("the stream to go on", async () => (await received()) > until, IN_TIME_MS);
    expect(download.isOver).to.equal(false);
    const { shm, tcp } = connectionsSince(first, await cluster.scrape(address));
    expect(shm).to.be.above(REQUESTS_PER_LOOK);
    expect(tcp).to.equal(0);
    expect(await failures()).to.deep.equal(before);
  });

  /** What an agent's pods are seen by on their node. */
  async function tracesOf(
    agents: Pods["items"],
  ): Promise<Readonly<Record<"processes" | "mounts" | "cgroups", readonly string[]>>> {
    const uids = agents.map(({ metadata }) => metadata.uid).join("|");
    const find = async (line: string): Promise<readonly string[]> =>
      (await cluster.onNode("n1", "sh", "-c", `${line} || true`)).split("\n").filter(Boolean);
    return {
      processes: await find(
        "ps -eo args | grep -E '^[^ ]*shimmy-netns-helper|bin.js (agent|injector|master)'",
      ),
      mounts: await find(`grep -E '${uids}' /proc/mounts`),
      cgroups: await find(`find /sys/fs/cgroup -type d | grep -E '${uids}'`),
    };
  }

  /** Sockets of an agent in the client's pod; the columns are those of proc_net_unix(5). */
  async function agentSockets(): Promise<readonly string[]> {
    const text = await cluster.exec(client, "fresh", "cat", "/proc/net/unix");
    return text.split("\n").filter((line) => line.includes("@shimmy/"));
  }

  async function readSecret(name: string): Promise<Kept> {
    const text = await cluster.kubectl("-n", SYSTEM, "get", "secret", name, "-o", "json");
    const { data } = JSON.parse(text) as { data: Readonly<Record<string, string>> };
    const read = (key: string): string => Buffer.from(data[key] ?? "", "base64").toString();
    return { cert: read("tls.crt"), key: read("tls.key"), bundle: read("ca.crt") };
  }

  async function writeSecret(name: string, { cert, key, bundle }: Kept): Promise<void> {
    const encode = (text: string): string => Buffer.from(text).toString("base64");
    const data = { "tls.crt": encode(cert), "tls.key": encode(key), "ca.crt": encode(bundle) };
    const patch = ["--type=merge", "-p", JSON.stringify({ data })];
    await cluster.kubectl("-n", SYSTEM, "patch", "secret", name, ...patch);
  }

  /**
   * Puts a CA and a certificate in the Secrets of which more than two thirds of the life are over, as
   * a master finds them that was away for long. What is served goes on being trusted.
   */
  async function age(authority: Kept): Promise<void> {
    const name = new X509Certificate(authority.cert).subject.replace("CN=", "");
    const old = { nowMs: Date.now() - 600 * DAY_MS, lifeMs: 730 * DAY_MS };
    const agedAuthority = await issueAuthority(name, old);
    const bundle = agedAuthority.cert + authority.cert;
    const agedLeaf = await issueServer(INJECTOR_HOST, authority, {
      nowMs: Date.now() - 80 * DAY_MS,
      lifeMs: 90 * DAY_MS,
    });
    await writeSecret(CERTIFICATE_SECRETS.webhookCa, { ...agedAuthority, bundle });
    await writeSecret(CERTIFICATE_SECRETS.injectorTls, { ...agedLeaf, bundle });
    await touch("mutatingwebhookconfiguration", "shimmy-injector");
  }

  /**
   * Changes an object, so that it is looked at: masters look at certificates, and kubelets at the
   * Secrets of a pod, once a minute or when something changes.
   */
  async function touch(...objects: readonly string[]): Promise<void> {
    const change = `example.com/touched=${performance.now()}`;
    await cluster.kubectl("-n", SYSTEM, "annotate", "--overwrite", ...objects, change);
  }

  /** What injectors show to whoever connects. */
  async function servedBy(injectors: Pods["items"]): Promise<readonly string[]> {
    return Promise.all(
      injectors.map(async ({ status: { podIP } }) => {
        const shown = await cluster.run(`openssl s_client -connect ${podIP}:10250 </dev/null 2>&1`);
        const [first] = certificatesOf(shown);
        return first?.serialNumber ?? "";
      }),
    );
  }

  /** What the API server trusts. */
  async function trustedSerials(): Promise<readonly string[]> {
    const text = await cluster.kubectl(
      ...["get", "mutatingwebhookconfiguration", "shimmy-injector"],
      ...["-o", "jsonpath={.webhooks[0].clientConfig.caBundle}"],
    );
    const bundle = Buffer.from(text, "base64").toString();
    return certificatesOf(bundle).map(({ serialNumber }) => serialNumber);
  }
});

interface Workload {
  readonly spec: { readonly template: { readonly spec: object } };
}

/** A pod that nobody makes anew. */
function barePod(
  name: string,
  spec: object,
  annotations: object,
  metadata: object = { name },
): object {
  const labels = { app: name };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: "default", labels, annotations, ...metadata },
    spec,
  };
}

/** One that opted in and finds no node. */
function pendingPod(): string {
  const { spec } = workload("pending", { node: "nowhere" }) as Workload;
  const metadata = { generateName: "pending-" };
  return JSON.stringify(barePod("pending", spec.template.spec, ENABLED, metadata));
}

function serialOf({ cert }: KeyPair): string {
  return new X509Certificate(cert).serialNumber;
}

function restartsOf(pods: Pods["items"]): number {
  const statuses = pods.flatMap(({ status }) => status.containerStatuses);
  return statuses.reduce((sum, { restartCount }) => sum + restartCount, 0);
}

/** Makes pods one after another until told to end. */
class Admissions {
  readonly #create: () => Promise<unknown>;
  readonly #running: Promise<void>;
  readonly #refusals: string[] = [];
  #admitted = 0;
  #isEnding = false;

  constructor(create: () => Promise<unknown>) {
    this.#create = create;
    this.#running = this.#run();
  }

  /** Makes some at a time. */
  async burst(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.#one()));
  }

  async end(): Promise<{ readonly admitted: number; readonly refusals: readonly string[] }> {
    this.#isEnding = true;
    await this.#running;
    return { admitted: this.#admitted, refusals: this.#refusals };
  }

  async #run(): Promise<void> {
    while (!this.#isEnding) await this.#one();
  }

  async #one(): Promise<void> {
    try {
      await this.#create();
      this.#admitted += 1;
    } catch (err) {
      this.#refusals.push(String(err));
    }
  }
}
