import { expect } from "chai";
import { parseAllDocuments } from "yaml";

import { PROTOCOL_VERSION, type PodsReply, type WhoamiReply } from "../../agent/api.ts";
import { injectManifest } from "../../cli/inject/manifest.ts";
import type { CheckFinding } from "../../cli/check/finding.ts";
import { readInjectionConfig } from "../../injector/config.ts";
import { SIDECAR_NAME } from "../../injector/containers.ts";
import { issueAuthority, issueServer } from "../../master/certificates/issue.ts";
import { Cluster, PodMetrics, SHIMMY_IMAGE } from "../helpers/cluster.ts";
import {
  connectionsSince,
  programContainer,
  webServer,
  webService,
  workload,
} from "../helpers/cluster-workloads.ts";
import { eventually } from "../helpers/eventually.ts";

const SYSTEM = "shimmy-system";
const ENABLED = { "shimmy.io/inject": "enabled" };
const CALLS_NGINX = { ...ENABLED, "shimmy.io/upstreams": "nginx:9001" };
const IN_TIME_MS = 60_000;
const REQUESTS = 20;
const DAY_MS = 86_400_000;
const NODE = "/usr/local/bin/node";

/** What a webhook does to a pod's spec and annotations, as a program of its own. */
const WEBHOOK = `
const { readFileSync } = require("node:fs");
// Of a container as clients knew it before there were native sidecars (Kubernetes 1.27).
const KNOWN = ["name", "image", "command", "args", "workingDir", "ports", "envFrom", "env", "resources",
  "volumeMounts", "volumeDevices", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
  "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext"];
const known = (container) =>
  Object.fromEntries(Object.entries(container).filter(([key]) => KNOWN.includes(key)));
const CHANGES = {
  "/old-schema": ({ spec }) =>
    [{ op: "replace", path: "/spec/initContainers", value: spec.initContainers.map(known) }],
  "/no-init": () => [{ op: "remove", path: "/spec/initContainers" }],
  "/as-it-was": ({ metadata, spec }) => [
    { op: "remove", path: "/spec/initContainers" },
    { op: "replace", path: "/spec/volumes",
      value: spec.volumes.filter(({ name }) => !name.startsWith("shimmy-")) },
    { op: "replace", path: "/metadata/annotations",
      value: { "shimmy.io/inject": metadata.annotations["shimmy.io/inject"] } },
  ],
};
require("node:https")
  .createServer({ cert: readFileSync("/tls/tls.crt"), key: readFileSync("/tls/tls.key") },
    (request, response) => {
      let text = "";
      request.on("data", (data) => (text += data)).on("end", () => {
        const { apiVersion, kind, request: { uid, object } } = JSON.parse(text);
        const change = CHANGES[request.url.split("?")[0]];
        const changes = object.spec.initContainers === undefined ? [] : change(object);
        const patch = Buffer.from(JSON.stringify(changes)).toString("base64");
        const answer = { uid, allowed: true, patchType: "JSONPatch", patch };
        response.setHeader("Content-Type", "application/json");
        response.end(JSON.stringify({ apiVersion, kind, response: answer }));
      });
    })
  .listen(8443);
`;

/** Asks an agent who we are, by the name that its socket has in an opted-in pod. */
const ASK = (path: string): string => `
require("node:http")
  .get({ socketPath: "\\0shimmy/api", path: "${path}", headers: { host: "agent" } }, (reply) => {
    reply.pipe(process.stdout);
  })
  .on("error", ({ code }) => console.log(code));
`;

interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: { readonly initContainers?: readonly { readonly name: string }[] };
  readonly status: { readonly podIP: string };
}

/** A pod with one container, `app`, that does nothing by itself. */
function pod(
  name: string,
  annotations: Readonly<Record<string, string>>,
  fields: { readonly namespace?: string; readonly spec?: object; readonly container?: object } = {},
): object {
  const { namespace = "default", spec = {}, container = {} } = fields;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, annotations },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [programContainer("app", { ...container })],
      ...spec,
    },
  };
}

/** In whose one container Node.js is. */
const WITH_NODE = {
  image: SHIMMY_IMAGE,
  command: [NODE, "-e", "setInterval(() => undefined, 1e6)"],
} as const;

describe("a cluster with what should not be in it", function () {
  this.timeout(180_000);
  let cluster: Cluster;

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start(1);
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

  async function get<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await cluster.kubectl("get", ...args, "-o", "json")) as T;
  }

  /** Why something was refused. */
  async function refusal(act: Promise<unknown>): Promise<string> {
    const said = await act.then(() => undefined, String);
    if (said === undefined) throw new Error("admitted");
    return said;
  }

  /** What `shimmy check` finds; each finding that is not well says what to do. */
  async function check(flags = ""): Promise<readonly CheckFinding[]> {
    const text = await cluster.run(`shimmy check ${flags} --output json || true`);
    const { findings } = JSON.parse(text) as { findings: readonly CheckFinding[] };
    for (const { status, todo, message } of findings) {
      if (status !== "ok") expect(todo ?? "", message).to.not.equal("");
    }
    return findings;
  }

  /** Waits for a finding, or for none that fails. */
  async function found(
    wanted: {
      readonly check: string;
      readonly status: string;
      readonly says: string;
      readonly todo: string;
    },
    flags = "",
  ): Promise<void> {
    await eventually(
      `${wanted.check}: ${wanted.says}`,
      async () =>
        (await check(flags)).some(
          (each) =>
            each.check === wanted.check &&
            each.status === wanted.status &&
            each.message.includes(wanted.says) &&
            (each.todo ?? "").includes(wanted.todo),
        ),
      IN_TIME_MS,
    );
  }

  async function allIsWell(): Promise<void> {
    await cluster.run("shimmy check --wait 90");
  }

  /** Makes requests of an upstream, each on a connection of its own; all must be answered. */
  async function request(name: string, upstream = "NGINX", namespace = "default"): Promise<void> {
    const line = `for i in $(seq ${REQUESTS}); do
        curl -sf -o /dev/null --max-time 5 "$SHIMMY_${upstream}_HOST:$SHIMMY_${upstream}_PORT/" || exit 1
      done`;
    await cluster.kubectl("-n", namespace, "exec", name, "-c", "app", "--", "sh", "-c", line);
  }

  /** How requests of a pod travel. */
  async function travelled(
    name: string,
    upstream = "NGINX",
    namespace = "default",
  ): Promise<{ readonly shm: number; readonly tcp: number }> {
    const address = await cluster.addressOf(name, namespace);
    const before = await cluster.scrape(address);
    await request(name, upstream, namespace);
    return connectionsSince(before, await cluster.scrape(address));
  }

  async function isCarried(name: string, upstream = "NGINX"): Promise<void> {
    await eventually(
      `requests of ${name} to be carried`,
      async () => {
        const result = await travelled(name, upstream).catch(() => undefined);
        return result?.shm === REQUESTS && result.tcp === 0;
      },
      IN_TIME_MS,
    );
  }

  async function ready(name: string, namespace = "default"): Promise<void> {
    await cluster.kubectl(
      ...["-n", namespace, "wait", "--for=condition=Ready", `pod/${name}`, "--timeout=60s"],
    );
  }

  async function agentPage<T>(path: string): Promise<T> {
    const label = "app.kubernetes.io/component=agent";
    const { items } = await get<{ items: readonly Pod[] }>("-n", SYSTEM, "pods", "-l", label);
    const address = items[0]?.status.podIP ?? "";
    return JSON.parse(await cluster.run(`curl -sf http://${address}:14790${path}`)) as T;
  }

  describe("shimmy check", function () {
    it("should say that it can be installed, and that it is not", async function () {
      const before = await check("--pre");
      expect(before.filter(({ status }) => status === "fail")).to.deep.equal([]);
      const wanted = { check: "agents", status: "fail", says: "is not there", todo: "install" };
      await found(wanted);
    });

    it("should name a workload that was annotated before, and what to do is of help", async function () {
      await apply(workload("early", { annotations: ENABLED }));
      await cluster.rolledOut("deployment/early");
      await cluster.install();
      await cluster.rolledOut("daemonset/shimmy-agent", SYSTEM);
      await allIsWell();
      const says = "default/early";
      await found({ check: "uncarried", status: "warn", says, todo: "example.com/touched=1" });
      await cluster.kubectl("annotate", "deployment", "early", "example.com/touched=1");
      await found({ check: "uncarried", status: "ok", says: "carries it", todo: "" });
      await cluster.rolledOut("deployment/early");
      await cluster.kubectl("delete", "deployment", "early");
    });

    it("should say that the API server trusts another CA, and the master mend it", async function () {
      const scale = ["-n", SYSTEM, "scale", "deployment/shimmy-master"];
      await cluster.kubectl(...scale, "--replicas=0");
      const label = "app.kubernetes.io/component=master";
      await cluster.kubectl(
        ...["-n", SYSTEM, "wait", "--for=delete", "pods", "-l", label, "--timeout=60s"],
      );
      const other = await issueAuthority("another", { nowMs: Date.now(), lifeMs: DAY_MS });
      const value = Buffer.from(other.cert).toString("base64");
      const patch = [0, 1, 2].map((index) => ({
        op: "replace",
        path: `/webhooks/${index}/clientConfig/caBundle`,
        value,
      }));
      await cluster.kubectl(
        ...["patch", "mutatingwebhookconfiguration", "shimmy-injector"],
        ...["--type=json", "-p", JSON.stringify(patch)],
      );
      const isNot = "is not that of the injector";
      await found({ check: "certificates", status: "fail", says: isNot, todo: "the master" });
      await found({ check: "webhook", status: "fail", says: "x509", todo: "certificate" });
      await cluster.kubectl(...scale, "--replicas=2");
      await allIsWell();
    });

    it("should name the nodes without an agent, and versions that differ", async function () {
      const set = ["-n", SYSTEM, "daemonset", "shimmy-agent"];
      const select = (value: string | null): Promise<string> =>
        cluster.kubectl(
          ...["patch", ...set, "--type=merge", "-p"],
          JSON.stringify({ spec: { template: { spec: { nodeSelector: { nowhere: value } } } } }),
        );
      await select("1");
      const without = "no agent is ready on n1";
      await found({ check: "agents", status: "fail", says: without, todo: "describe and logs" });
      await select(null);

      const label = (version: string): Promise<string> =>
        cluster.kubectl("label", ...set, `app.kubernetes.io/version=${version}`, "--overwrite");
      await label("0.2.0");
      await found({ check: "versions", status: "warn", says: "agents 0.2.0", todo: "upgrade" });
      await label("0.9.0");
      await found({
        check: "versions",
        status: "fail",
        says: "one minor version",
        todo: "upgrade",
      });
      await label("0.1.0");
      await allIsWell();
    });
  });

  describe("among opted-in pods", function () {
    before(async function () {
      this.timeout(120_000);
      await apply(webServer("nginx", { annotations: ENABLED }), webService("nginx"));
      await cluster.rolledOut("deployment/nginx");
      await apply(pod("client", CALLS_NGINX), pod("scout", ENABLED, { container: WITH_NODE }));
      for (const name of ["client", "scout"]) await ready(name);
      await isCarried("client");
    });

    it("should show what is carried, by node and by namespace", async function () {
      for (const flags of ["--node n1", "--namespace default"]) {
        const text = await cluster.run(`shimmy top ${flags} --once`);
        expect(text).to.match(/^shimmy \S+, node n1, agent ok/m);
        expect(text).to.match(/^default\/client +connected/m);
        expect(text).to.match(/^default\/nginx-\S+ +connected/m);
      }
      const none = cluster.run("shimmy top --namespace kube-public --once");
      expect(await refusal(none)).to.include("no pod of the namespace kube-public has a sidecar");
    });

    it("should carry nothing for a tenant's EndpointSlice that points at another's pod", async function () {
      const { items } = await get<{ items: readonly Pod[] }>("pods", "-l", "app=nginx");
      const [nginx] = items;
      if (nginx === undefined) throw new Error("no nginx");
      const slice = (service: string, target: Pod): object => ({
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          name: `${service}-made-up`,
          namespace: "tenant",
          labels: { "kubernetes.io/service-name": service },
        },
        addressType: "IPv4",
        ports: [{ name: "", port: 8080 }],
        endpoints: [
          {
            addresses: [nginx.status.podIP],
            conditions: { ready: true },
            nodeName: "n1",
            targetRef: {
              kind: "Pod",
              namespace: "default",
              name: target.metadata.name,
              uid: target.metadata.uid,
            },
          },
        ],
      });
      const service = (name: string): object => ({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name, namespace: "tenant" },
        spec: { ports: [{ port: 80, targetPort: 8080 }] },
      });
      await cluster.kubectl("create", "namespace", "tenant");
      const upstreams = { ...ENABLED, "shimmy.io/upstreams": "theirs:9001, mine:9002" };
      await apply(pod("thief", upstreams, { namespace: "tenant" }));
      await ready("thief", "tenant");
      const thief = await get<Pod>("-n", "tenant", "pod", "thief");
      // By its own UID, and by the address alone under a UID of the tenant's own pod.
      await apply(service("theirs"), slice("theirs", nginx), service("mine"), slice("mine", thief));

      const address = await cluster.addressOf("thief", "tenant");
      for (const upstream of ["THEIRS", "MINE"]) {
        await eventually("the slice to be known", () =>
          request("thief", upstream, "tenant").then(
            () => true,
            () => false,
          ),
        );
        const { shm, tcp } = await travelled("thief", upstream, "tenant");
        expect({ shm, tcp }).to.deep.equal({ shm: 0, tcp: REQUESTS });
      }
      const metrics = await cluster.scrape(address);
      expect(metrics.outbound("shm")).to.equal(0);
      const denied = metrics.sum("shimmy_fallbacks_total", { reason: "policy_denied" });
      expect(denied).to.be.at.least(REQUESTS);
      const { pods } = await agentPage<PodsReply>("/v1/pods");
      const known = pods.find(({ uid }) => uid === nginx.metadata.uid);
      expect(known?.services).to.deep.equal(["default/nginx"]);
      await isCarried("client");
    });

    it("should give a pod that did not opt in no agent to ask", async function () {
      const hosts = { hostNetwork: true };
      await apply(
        pod("plain", {}, { container: WITH_NODE }),
        pod("host", {}, { container: WITH_NODE, spec: hosts }),
      );
      for (const name of ["plain", "host"]) {
        await ready(name);
        const said = await cluster.exec(name, "app", NODE, "-e", ASK("/v1/whoami"));
        expect(said, name).to.equal("ECONNREFUSED");
      }
    });

    it("should tell a process beside a sidecar of its own pod, and of no other", async function () {
      const ask = async <T>(path: string): Promise<T> =>
        JSON.parse(await cluster.exec("scout", "app", NODE, "-e", ASK(path))) as T;
      const { scope, pod: self } = await ask<WhoamiReply>("/v1/whoami");
      expect({ scope, name: self?.name }).to.deep.equal({ scope: "pod", name: "scout" });
      const { pods } = await ask<PodsReply>("/v1/pods");
      expect(pods.map(({ name }) => name)).to.deep.equal(["scout"]);
    });
  });

  describe("with another webhook that changes what we made", function () {
    before(async function () {
      await cluster.kubectl("create", "namespace", "changed");
      const host = "changer.default.svc";
      const authority = await issueAuthority("changer", { nowMs: Date.now(), lifeMs: DAY_MS });
      const { cert, key } = await issueServer(host, authority, {
        nowMs: Date.now(),
        lifeMs: DAY_MS,
      });
      caBundle = Buffer.from(authority.cert).toString("base64");
      const container = {
        image: SHIMMY_IMAGE,
        command: [NODE, "-e", WEBHOOK],
        readinessProbe: { tcpSocket: { port: 8443 }, periodSeconds: 1 },
        volumeMounts: [{ name: "tls", mountPath: "/tls" }],
      };
      const changer = pod(
        "changer",
        {},
        {
          container,
          spec: { volumes: [{ name: "tls", secret: { secretName: "changer" } }] },
        },
      ) as { metadata: object };
      await apply(
        {
          apiVersion: "v1",
          kind: "Secret",
          metadata: { name: "changer", namespace: "default" },
          stringData: { "tls.crt": cert, "tls.key": key },
        },
        { ...changer, metadata: { ...changer.metadata, labels: { app: "changer" } } },
        {
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "changer", namespace: "default" },
          spec: { selector: { app: "changer" }, ports: [{ port: 443, targetPort: 8443 }] },
        },
      );
      await ready("changer");
    });

    let caBundle = "";

    /** Registers it; the API server calls webhooks in the order of their configurations' names. */
    async function register(path: string, reinvocationPolicy = "Never"): Promise<void> {
      await apply({
        apiVersion: "admissionregistration.k8s.io/v1",
        kind: "MutatingWebhookConfiguration",
        metadata: { name: "the-changer" },
        webhooks: [
          {
            name: "changer.example.com",
            admissionReviewVersions: ["v1"],
            sideEffects: "None",
            reinvocationPolicy,
            clientConfig: { service: { name: "changer", namespace: "default", path }, caBundle },
            namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "changed" } },
            rules: [
              { apiGroups: [""], apiVersions: ["v1"], resources: ["pods"], operations: ["CREATE"] },
            ],
          },
        ],
      });
    }

    const CASES = [
      {
        what: "drops fields it does not know",
        path: "/old-schema",
        says: /pods\.shimmy\.io.* the sidecar lost restartPolicy: Always, probably to another webhook/s,
      },
      {
        what: "removes the sidecar",
        path: "/no-init",
        says: /pods\.shimmy\.io.* another webhook removed it/s,
      },
      {
        what: "removes it, all traces of it, and does so again",
        path: "/as-it-was",
        again: "IfNeeded",
        says: /shimmy-injected.* does not carry shimmy-sidecar with restartPolicy Always/s,
      },
    ];
    for (const { what, path, again, says } of CASES) {
      it(`should refuse a pod, and say why, when one ${what}`, async function () {
        await register(path, again);
        const trial = JSON.stringify(pod("trial", ENABLED, { namespace: "changed" }));
        const create = ["create", "--dry-run=server", "-f", cluster.write(trial)];
        await eventually("the webhook to be called", async () => {
          return says.test(await refusal(cluster.kubectl(...create)).catch(String));
        });
        const failed = { check: "webhook", status: "fail", says: "another webhook" };
        await found({ ...failed, todo: "the-changer" }, "--trial-namespace changed");
        // Nobody else is kept from making pods.
        await cluster.kubectl(
          ...["create", "--dry-run=server", "-f"],
          cluster.write(JSON.stringify(pod("trial", {}, { namespace: "changed" }))),
        );
      });
    }

    it("should count what was refused", async function () {
      const label = "app.kubernetes.io/component=injector";
      const { items } = await get<{ items: readonly Pod[] }>("-n", SYSTEM, "pods", "-l", label);
      const pages = await Promise.all(
        items.map(({ status }) => cluster.run(`curl -sk https://${status.podIP}:10250/metrics`)),
      );
      const altered = { outcome: "refused", reason: "sidecar_altered" };
      const counts = pages.map((text) =>
        new PodMetrics(text).sum("shimmy_injector_admissions_total", altered),
      );
      expect(counts.reduce((sum, each) => sum + each, 0)).to.be.at.least(2);
    });
  });

  describe("of two versions", function () {
    const OLDER = PROTOCOL_VERSION - 1;
    const CALLS_BOTH = { ...ENABLED, "shimmy.io/upstreams": "nginx:9001, older:9002" };
    const CLIENTS = ["newer-client", "older-client"];

    before(async function () {
      this.timeout(120_000);
      await applyOlder(
        webServer("older", { annotations: ENABLED }),
        pod("older-client", CALLS_BOTH),
      );
      await apply(webService("older"), pod("newer-client", CALLS_BOTH));
      await cluster.rolledOut("deployment/older");
      for (const name of CLIENTS) await ready(name);
    });

    /** Applies what has sidecars already, which speak the version before ours. */
    async function applyOlder(...objects: readonly object[]): Promise<void> {
      const manifest = objects.map((object) => JSON.stringify(object)).join("\n---\n");
      const config = readInjectionConfig({ image: SHIMMY_IMAGE });
      const { text } = injectManifest(manifest, { config, defaultNamespace: "default" });
      const injected = parseAllDocuments(text).map((document) => document.toJS() as Injected);
      for (const { spec } of injected) {
        const { initContainers } = "template" in spec ? spec.template.spec : spec;
        const sidecar = initContainers.find(({ name }) => name === SIDECAR_NAME);
        sidecar?.env.push({ name: "SHIMMY_PROTOCOL_VERSION", value: String(OLDER) });
      }
      await apply(...injected);
    }

    /** The version that a sidecar and its agent have agreed on last. */
    async function spoken(name: string): Promise<number | undefined> {
      const text = await cluster.kubectl("logs", name, "-c", SIDECAR_NAME);
      const lines = text.split("\n").filter((line) => line.includes("agent connected"));
      return (JSON.parse(lines.at(-1) ?? "{}") as { version?: number }).version;
    }

    async function allAreCarried(): Promise<void> {
      for (const name of CLIENTS) for (const to of ["NGINX", "OLDER"]) await isCarried(name, to);
    }

    it("should carry between every two of them, with an agent of this version", async function () {
      await allAreCarried();
      expect(await spoken("newer-client")).to.equal(PROTOCOL_VERSION);
      expect(await spoken("older-client")).to.equal(OLDER);
    });

    it("should carry between every two of them, with an agent of the version before", async function () {
      await cluster.kubectl(
        ...["-n", SYSTEM, "set", "env", "daemonset/shimmy-agent", "-c", "agent"],
        `SHIMMY_PROTOCOL_VERSION=${OLDER}`,
      );
      await cluster.rolledOut("daemonset/shimmy-agent", SYSTEM);
      for (const name of CLIENTS) {
        await eventually("the older agent", async () => (await spoken(name)) === OLDER, IN_TIME_MS);
      }
      await allAreCarried();
    });
  });
});

/** What has a sidecar: a pod, or what makes pods. */
interface Injected {
  readonly spec: InjectedSpec | { readonly template: { readonly spec: InjectedSpec } };
}

interface InjectedSpec {
  readonly initContainers: readonly {
    readonly name: string;
    readonly env: { readonly name: string; readonly value: string }[];
  }[];
}
