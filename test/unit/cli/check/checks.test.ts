import { expect } from "chai";

import { runChecks, type CheckPhase } from "../../../../cli/check/checks.ts";
import { CheckContext } from "../../../../cli/check/context.ts";
import type { CheckFinding, CheckStatus } from "../../../../cli/check/finding.ts";
import { Cluster } from "../../../../cli/cluster/cluster.ts";
import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import {
  apiBehaviour,
  inject,
  makeCertificates,
  putAgent,
  putCertificates,
  putHealthyCluster,
  putNode,
  putPod,
  putShimmyNode,
  SYSTEM,
  type ApiBehaviour,
  type TestCertificates,
} from "./healthy.ts";

interface Case {
  readonly what: string;
  readonly check: string;
  readonly status: CheckStatus;
  /** Part of the message. */
  readonly says: string;
  /** Part of what to do. */
  readonly todo?: string;
  readonly phase?: CheckPhase;
  readonly change: (server: FakeApiServer) => void;
  readonly behaviour?: ApiBehaviour;
  readonly nowMs?: number;
}

const DAY_MS = 86_400_000;
const refuse = (message: string, status = 500, reason = "InternalError"): ApiBehaviour => ({
  admit: () => failure(status, reason, message),
});
const nothing = (): void => undefined;
const setConfig = (data: object) => (server: FakeApiServer) => {
  server.put(KINDS.configMaps, { metadata: { name: NAMES.config, namespace: SYSTEM }, data });
};
const setDeployment = (name: string, readyReplicas: number) => (server: FakeApiServer) => {
  server.put(KINDS.deployments, {
    metadata: { name, namespace: SYSTEM },
    spec: { replicas: 2 },
    status: { readyReplicas },
  });
};
const annotated =
  (spec: object, status = {}) =>
  (server: FakeApiServer) => {
    server.put(KINDS.deployments, {
      metadata: { name: "web", namespace: "shop", annotations: { "shimmy.io/inject": "enabled" } },
      spec,
      status,
    });
  };
const CARRIED = { template: { metadata: { annotations: { "shimmy.io/inject": "enabled" } } } };

const CASES: readonly Case[] = [
  // The API server and its version.
  {
    what: "an API server before 1.28",
    check: "version",
    status: "fail",
    says: "v1.27.3",
    todo: "1.30",
    change: nothing,
    behaviour: { version: "v1.27.3" },
  },
  {
    what: "an API server before 1.30",
    check: "version",
    status: "warn",
    says: "legacy mode only",
    todo: "native-sidecar: disabled",
    change: nothing,
    behaviour: { version: "v1.29.1-eks-1234" },
  },
  {
    what: "an API server before 1.30 in legacy mode",
    check: "version",
    status: "ok",
    says: "legacy mode is set",
    change: setConfig({ "native-sidecar": "disabled" }),
    behaviour: { version: "v1.29.1" },
  },
  {
    what: "a version that is none",
    check: "version",
    status: "unknown",
    says: '"main"',
    change: nothing,
    behaviour: { version: "main" },
  },
  // Nodes and kubelets.
  {
    what: "an old kernel",
    check: "nodes",
    status: "fail",
    says: "n2",
    change: (server) => {
      putNode(server, "n2", { kernelVersion: "5.4.0-100" });
    },
  },
  {
    what: "a processor that is not supported",
    check: "nodes",
    status: "fail",
    says: "n2",
    change: (server) => {
      putNode(server, "n2", { architecture: "s390x" });
    },
  },
  {
    what: "Windows nodes only",
    check: "nodes",
    status: "fail",
    says: "no Linux node",
    change: (server) => {
      putNode(server, "n1", { operatingSystem: "windows" });
    },
  },
  {
    what: "a kubelet with a known defect",
    check: "kubelets",
    status: "warn",
    says: "kubelet v1.35.1 of n2: after a restart of the kubelet",
    todo: "pull/137885",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "v1.35.1" });
    },
  },
  {
    what: "a kubelet that is too old",
    check: "kubelets",
    status: "warn",
    says: "too old for native sidecars",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "v1.29.9" });
    },
  },
  {
    what: "a kubelet with a defect in legacy mode",
    check: "kubelets",
    status: "ok",
    says: "legacy mode",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "v1.35.1" });
      setConfig({ "native-sidecar": "disabled" })(server);
    },
  },
  {
    what: "a kubelet without a version",
    check: "kubelets",
    status: "unknown",
    says: "not a version",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "dev" });
    },
  },
  // Before the installation.
  {
    what: "a user who may do everything",
    phase: "before",
    check: "permissions",
    status: "ok",
    says: "everything",
    change: nothing,
  },
  {
    what: "a user who may not create roles",
    phase: "before",
    check: "permissions",
    status: "fail",
    says: "you may not create clusterroles, create clusterrolebindings",
    change: nothing,
    behaviour: {
      allows: (verb, resource) =>
        resource !== "*" && !(verb === "create" && resource.startsWith("clusterrole")),
    },
  },
  {
    what: "a user who may create roles of his own permissions only",
    phase: "before",
    check: "permissions",
    status: "warn",
    says: "permissions you have yourself",
    change: nothing,
    behaviour: { allows: (verb, resource) => resource !== "*" && verb !== "escalate" },
  },
  {
    what: "a namespace that agents may not run in",
    phase: "before",
    check: "pod-security",
    status: "fail",
    says: "restricted",
    todo: "enforce=privileged",
    change: (server) => {
      const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
      server.put(KINDS.namespaces, { metadata: { name: SYSTEM, labels } });
    },
  },
  {
    what: "an installation that is there",
    phase: "before",
    check: "absent",
    status: "warn",
    says: "installed already",
    todo: "docs/upgrade.md",
    change: nothing,
  },
  // The installation.
  {
    what: "a kind that is not defined",
    check: "definitions",
    status: "fail",
    says: "ShimmyNode is not defined",
    change: (server) => {
      server.delete(KINDS.definitions, "shimmynodes.shimmy.io");
    },
  },
  {
    what: "a kind that is not served",
    check: "definitions",
    status: "fail",
    says: "not served as v1alpha1",
    change: (server) => {
      server.put(KINDS.definitions, {
        metadata: { name: "shimmynodes.shimmy.io" },
        spec: { versions: [{ name: "v1", served: true }] },
      });
    },
  },
  {
    what: "a kind that is not established",
    check: "definitions",
    status: "fail",
    says: "not established: names clash",
    change: (server) => {
      server.put(KINDS.definitions, {
        metadata: { name: "shimmynodes.shimmy.io" },
        spec: { versions: [{ name: "v1alpha1", served: true }] },
        status: { conditions: [{ type: "Established", status: "False", message: "names clash" }] },
      });
    },
  },
  {
    what: "no injector",
    check: "parts",
    status: "fail",
    says: "shimmy-system/shimmy-injector is not there",
    change: (server) => {
      server.delete(KINDS.deployments, NAMES.injector, SYSTEM);
    },
  },
  {
    what: "an injector that is not ready",
    check: "parts",
    status: "fail",
    says: "opted-in pods are not admitted",
    change: setDeployment(NAMES.injector, 0),
  },
  {
    what: "one of two masters",
    check: "parts",
    status: "warn",
    says: "1 of 2 pods of shimmy-master",
    change: setDeployment(NAMES.master, 1),
  },
  {
    what: "no leader",
    check: "parts",
    status: "fail",
    says: "no master leads",
    change: (server) => {
      server.delete(KINDS.leases, NAMES.master, SYSTEM);
    },
  },
  {
    what: "a leader that is silent",
    check: "parts",
    status: "fail",
    says: "renewed its Lease 302 s ago",
    change: nothing,
    nowMs: 300_000,
  },
  {
    what: "a policy that is not there",
    check: "policies",
    status: "fail",
    says: "shimmy-injected is not there",
    change: (server) => {
      server.delete(KINDS.admissionPolicies, NAMES.injectedPolicy);
    },
  },
  {
    what: "a policy that is not bound",
    check: "policies",
    status: "fail",
    says: "shimmy-injected is bound to nothing",
    change: (server) => {
      server.delete(KINDS.admissionBindings, NAMES.injectedPolicy);
    },
  },
  {
    what: "an API server without policies",
    check: "policies",
    status: "unknown",
    says: "before Kubernetes 1.30",
    change: nothing,
    behaviour: { version: "v1.29.1" },
  },
  // Certificates.
  {
    what: "no certificate",
    check: "certificates",
    status: "fail",
    says: "there is no Secret shimmy-system/shimmy-injector-tls",
    change: (server) => {
      server.delete(KINDS.secrets, NAMES.injectorTls, SYSTEM);
    },
  },
  {
    what: "a Secret without a certificate",
    check: "certificates",
    status: "fail",
    says: "has no certificate",
    change: (server) => {
      server.put(KINDS.secrets, { metadata: { name: NAMES.injectorTls, namespace: SYSTEM } });
    },
  },
  {
    what: "a certificate that has ended",
    check: "certificates",
    status: "fail",
    says: "the injector's certificate ended on",
    change: nothing,
    nowMs: 31 * DAY_MS,
  },
  {
    what: "a certificate whose renewal is overdue",
    check: "certificates",
    status: "warn",
    says: "renewal is overdue",
    change: nothing,
    nowMs: 26 * DAY_MS,
  },
  {
    what: "no CA at the API server",
    check: "certificates",
    status: "fail",
    says: "no CA for the webhook pods.injector.shimmy.io",
    change: (server) => {
      server.put(KINDS.mutatingWebhooks, {
        metadata: { name: NAMES.injector },
        webhooks: [{ name: "pods.injector.shimmy.io", clientConfig: {} }],
      });
    },
  },
  {
    what: "no webhook configuration",
    check: "certificates",
    status: "fail",
    says: "MutatingWebhookConfiguration shimmy-injector is not there",
    change: (server) => {
      server.delete(KINDS.mutatingWebhooks, NAMES.injector);
    },
  },
  // A pod on trial.
  {
    what: "an injector that the API server cannot reach",
    check: "webhook",
    status: "fail",
    says: "cannot call the injector",
    todo: "10250",
    change: nothing,
    behaviour: refuse(
      'Internal error occurred: failed calling webhook "pods.injector.shimmy.io": context deadline exceeded',
    ),
  },
  {
    what: "an injector that the API server does not trust",
    check: "webhook",
    status: "fail",
    says: "cannot call the injector",
    todo: "certificate",
    change: nothing,
    behaviour: refuse(
      'failed calling webhook "pods.injector.shimmy.io": x509: certificate signed by unknown authority',
    ),
  },
  {
    what: "no injector behind the Service",
    check: "webhook",
    status: "fail",
    says: "cannot call the injector",
    todo: "behind its Service",
    change: nothing,
    behaviour: refuse(
      'failed calling webhook "pods.injector.shimmy.io": no endpoints available for service "shimmy-injector"',
    ),
  },
  {
    what: "an injector that refuses",
    check: "webhook",
    status: "fail",
    says: "no image",
    change: nothing,
    behaviour: refuse(
      'admission webhook "pods.injector.shimmy.io" denied the request: no image',
      403,
      "Forbidden",
    ),
  },
  {
    what: "the admission policy",
    check: "webhook",
    status: "fail",
    says: "the admission policy found no sidecar",
    change: nothing,
    behaviour: refuse("ValidatingAdmissionPolicy 'shimmy-injected' with binding", 422, "Invalid"),
  },
  {
    what: "a user who may not create pods",
    check: "webhook",
    status: "unknown",
    says: "no pod could be created on trial in default",
    todo: "--trial-namespace",
    change: nothing,
    behaviour: refuse('pods is forbidden: User "x" cannot create', 403, "Forbidden"),
  },
  {
    what: "an API server that does not call the injector",
    check: "webhook",
    status: "fail",
    says: "got no sidecar",
    change: nothing,
    behaviour: { admit: (pod) => ({ status: 201, body: pod }) },
  },
  {
    what: "another webhook that strips fields",
    check: "webhook",
    status: "fail",
    says: "lost restartPolicy: Always",
    change: nothing,
    behaviour: {
      admit: (pod) => {
        const text = JSON.stringify(inject(pod)).replace('"restartPolicy":"Always",', "");
        return { status: 201, body: JSON.parse(text) as unknown };
      },
    },
  },
  {
    what: "a namespace in which nothing is injected",
    check: "webhook",
    status: "unknown",
    says: "nothing is injected in default",
    change: setConfig({ "excluded-namespaces": "default" }),
  },
  // Agents.
  {
    what: "a node without an agent",
    check: "agents",
    status: "warn",
    says: "no agent is ready on n2",
    change: (server) => {
      putNode(server, "n2");
    },
  },
  {
    what: "no agent that is ready",
    check: "agents",
    status: "fail",
    says: "no agent is ready on n1",
    change: (server) => {
      putAgent(server, "n1", "False");
    },
  },
  {
    what: "no DaemonSet",
    check: "agents",
    status: "fail",
    says: "shimmy-system/shimmy-agent is not there",
    change: (server) => {
      server.delete(KINDS.daemonSets, NAMES.agent, SYSTEM);
    },
  },
  {
    what: "an agent that says it is not ready",
    check: "agents",
    status: "warn",
    says: "the agent of n1 is not ready, Because: a sentence",
    change: (server) => {
      putShimmyNode(server, "n1", { Ready: "False" });
    },
  },
  {
    what: "an agent that says nothing",
    check: "agents",
    status: "unknown",
    says: "the agents of n1 have not written a status",
    change: (server) => {
      server.delete(KINDS.shimmyNodes, "n1");
    },
  },
  {
    what: "a node that forbids passing descriptors",
    check: "fd-passing",
    status: "fail",
    says: "pods of n1 may not pass descriptors",
    todo: "SELinux",
    change: nothing,
    behaviour: { fallbacks: [{ pod: "a", reason: "fd_passing_refused", count: 1 }] },
  },
  {
    what: "a node on which it was not tried",
    check: "fd-passing",
    status: "unknown",
    says: "no two have had a stream there",
    todo: "call each other",
    change: nothing,
    behaviour: { streams: [] },
  },
  {
    what: "a node whose agent is not there",
    check: "fd-passing",
    status: "unknown",
    says: "pods of n2 may pass descriptors to each other: the agents there could not be asked",
    change: (server) => {
      putNode(server, "n2");
    },
  },
  // Versions.
  {
    what: "a part of the version before",
    check: "versions",
    status: "warn",
    says: "versions differ",
    change: (server) => {
      const labels = { "app.kubernetes.io/version": "0.2.7" };
      server.put(KINDS.deployments, {
        metadata: { name: NAMES.master, namespace: SYSTEM, labels },
      });
    },
  },
  {
    what: "a part that is too far away",
    check: "versions",
    status: "fail",
    says: "more than one minor version apart",
    change: (server) => {
      const labels = { "app.kubernetes.io/version": "0.9.0" };
      server.put(KINDS.deployments, {
        metadata: { name: NAMES.master, namespace: SYSTEM, labels },
      });
    },
  },
  {
    what: "a sidecar of another version",
    check: "versions",
    status: "warn",
    says: "0.2.0: shop/old-1",
    todo: "rollout restart",
    change: (server) => {
      putPod(server, "old-1", { version: "0.2.0" });
    },
  },
  {
    what: "a sidecar that is too far away",
    check: "versions",
    status: "fail",
    says: "0.5.0: shop/old-1",
    change: (server) => {
      putPod(server, "old-1", { version: "0.5.0" });
    },
  },
  // Workloads.
  {
    what: "a pod that opted in and has no sidecar",
    check: "uninjected",
    status: "fail",
    says: "1 pod opted in and has no sidecar: shop/bare-1",
    todo: "rollout restart",
    change: (server) => {
      const annotations = { "shimmy.io/inject": "enabled" };
      putPod(server, "bare-1", { sidecar: false, annotations });
    },
  },
  {
    what: "pods of a namespace that opted in",
    check: "uninjected",
    status: "fail",
    says: "2 pods opted in and have no sidecar",
    change: (server) => {
      const labels = { "shimmy.io/inject": "enabled" };
      server.put(KINDS.namespaces, { metadata: { name: "shop", labels } });
      for (const name of ["bare-1", "bare-2"]) putPod(server, name, { sidecar: false });
    },
  },
  {
    what: "a workload that was not carried",
    check: "uncarried",
    status: "warn",
    says: "Deployment shop/web",
    todo: "kubectl annotate",
    change: annotated({ template: {} }),
  },
  {
    what: "a workload that is paused",
    check: "uncarried",
    status: "warn",
    says: "waits until Deployment shop/web",
    todo: "resume",
    change: annotated({ ...CARRIED, paused: true }),
  },
  {
    what: "a workload that was paused after all pods were new",
    check: "uncarried",
    status: "ok",
    says: "carries it",
    change: annotated({ ...CARRIED, paused: true }, { updatedReplicas: 1 }),
  },
  {
    what: "a pod of class BestEffort",
    check: "budgets",
    status: "warn",
    says: "shop/free-1",
    todo: "requests or limits",
    change: (server) => {
      putPod(server, "free-1", { status: { qosClass: "BestEffort" } });
    },
  },
  {
    what: "a pod that was left out",
    check: "skipped",
    status: "warn",
    says: "1 pod left out, host_network: shop/net-1",
    todo: "reasons.md",
    change: (server) => {
      const annotations = { "shimmy.io/skipped": "host_network" };
      putPod(server, "net-1", { sidecar: false, annotations });
    },
  },
];

describe("runChecks()", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let certificates: TestCertificates;
  /** When the certificates were made. */
  let madeAtMs: number;

  before(function () {
    certificates = makeCertificates(30);
    madeAtMs = Date.now();
  });

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    putHealthyCluster(server, certificates);
    const renewTime = new Date(madeAtMs - 1000).toISOString();
    server.put(KINDS.leases, {
      metadata: { name: NAMES.master, namespace: SYSTEM },
      spec: { holderIdentity: "m1", renewTime },
    });
    server.intercept = apiBehaviour();
  });

  afterEach(async function () {
    await api.close();
    await server.close();
  });

  function run(phase: CheckPhase = "after", laterMs = 0): Promise<CheckFinding[]> {
    const context = new CheckContext(new Cluster(api, server.access.server), {
      namespace: SYSTEM,
      trialNamespace: "default",
      now: () => madeAtMs + 1000 + laterMs,
      version: "0.1.0",
    });
    return runChecks(context, phase);
  }

  it("should find nothing wrong where all is well", async function () {
    const findings = await run();
    expect(findings.filter(({ status }) => status !== "ok")).to.deep.equal([]);
    expect(new Set(findings.map(({ check }) => check))).to.have.property("size", 15);
  });

  it("should find nothing in the way of an installation into an empty cluster", async function () {
    const empty = await FakeApiServer.start();
    putNode(empty, "n1");
    empty.intercept = apiBehaviour();
    const other = new ApiClient(empty.access);
    const context = new CheckContext(new Cluster(other, empty.access.server), {
      namespace: SYSTEM,
      trialNamespace: "default",
      now: Date.now,
      version: "0.1.0",
    });
    const findings = await runChecks(context, "before");
    await other.close();
    await empty.close();
    expect(findings.map(({ check, status }) => [check, status])).to.deep.equal([
      ["version", "ok"],
      ["nodes", "ok"],
      ["kubelets", "ok"],
      ["permissions", "ok"],
      ["pod-security", "ok"],
      ["absent", "ok"],
    ]);
  });

  for (const { what, check, status, says, todo, phase, change, behaviour, nowMs } of CASES) {
    it(`should say ${status} of ${check} for ${what}`, async function () {
      change(server);
      if (behaviour !== undefined) server.intercept = apiBehaviour(behaviour);
      const findings = (await run(phase, nowMs)).filter((each) => each.check === check);
      const found = findings.find((each) => each.status === status && each.message.includes(says));
      expect(found, JSON.stringify(findings, undefined, 1)).to.not.equal(undefined);
      if (status !== "ok")
        expect(found?.todo ?? "")
          .to.include(todo ?? "")
          .and.not.equal("");
    });
  }

  it("should say that the CA of the API server is another one", async function () {
    const { leaf } = makeCertificates(30);
    putCertificates(server, { ca: certificates.ca, leaf });
    const findings = await run();
    expect(findings.map(({ message }) => message)).to.include(
      "the CA that the API server has for pods.injector.shimmy.io is not that of the injector",
    );
  });

  it("should stop when the API server does not answer", async function () {
    server.intercept = () => "drop";
    const findings = await run();
    expect(findings).to.have.length(1);
    expect(findings[0]).to.include({ check: "version", status: "fail" });
    expect(findings[0]?.message).to.include(`${server.access.server} does not answer`);
  });

  it("should stop when the API server does not know the user", async function () {
    server.intercept = () => failure(401, "Unauthorized", "Unauthorized");
    const findings = await run();
    expect(findings.map(({ message }) => message)).to.deep.equal([
      `the API server ${server.access.server} does not accept your credentials`,
    ]);
  });

  for (const part of ["secrets", "pods", "nodes", "shimmynodes", "leases", "deployments"]) {
    it(`should go on when ${part} may not be read, and say what was not checked`, async function () {
      const behaviour = apiBehaviour();
      server.intercept = (request) =>
        request.method === "GET" && request.path.split("/").includes(part)
          ? failure(403, "Forbidden", `${part} is forbidden`)
          : behaviour(request);
      const findings = await run();
      const missed = findings.filter(({ status }) => status === "unknown");
      expect(missed.length, JSON.stringify(findings)).to.be.greaterThan(0);
      expect(findings.some(({ status }) => status === "fail")).to.equal(false);
      for (const { todo } of missed) expect(todo).to.be.a("string");
    });
  }
});
