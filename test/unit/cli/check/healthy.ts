import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { VERSION } from "../../../../common/version.ts";
import { readInjectionConfig } from "../../../../injector/config.ts";
import { injectPod } from "../../../../injector/inject-pod.ts";
import { applyPatch } from "../../../../injector/json-patch.ts";
import type { Fields } from "../../../../injector/raw.ts";
import type { FakeAnswer, FakeApiServer, SeenRequest } from "../../../helpers/fake-api-server.ts";

/** A CA and a leaf that it issued, PEM. */
export interface TestCertificates {
  readonly ca: string;
  readonly leaf: string;
}

/** Makes certificates that are valid from now on for some days. */
export function makeCertificates(days: number): TestCertificates {
  const directory = mkdtempSync(join(tmpdir(), "shimmy-certificates-"));
  const file = (name: string): string => join(directory, name);
  const openssl = (words: string): void => {
    execFileSync("openssl", words.split(" "), { cwd: directory, stdio: "pipe" });
  };
  const key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
  try {
    openssl(`req -x509 ${key} -days 3650 -subj /CN=ca -keyout ca.key -out ca.crt`);
    openssl(`req ${key} -subj /CN=leaf -keyout leaf.key -out leaf.csr`);
    writeFileSync(file("serial"), "01\n");
    openssl(
      `x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAserial serial -days ${days} -out leaf.crt`,
    );
    return {
      ca: readFileSync(file("ca.crt"), "utf8"),
      leaf: readFileSync(file("leaf.crt"), "utf8"),
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const LABELS = { "app.kubernetes.io/name": "shimmy", "app.kubernetes.io/part-of": "shimmy" };

/** The namespace in which Shimmy is. */
export const SYSTEM = NAMES.namespace;

/** Stores the Secrets and the webhook configuration. */
export function putCertificates(server: FakeApiServer, { ca, leaf }: TestCertificates): void {
  const secret = (name: string, pem: string): void => {
    server.put(KINDS.secrets, {
      metadata: { name, namespace: SYSTEM },
      data: { "tls.crt": base64(pem) },
    });
  };
  secret(NAMES.injectorTls, leaf);
  secret(NAMES.webhookCa, ca);
  server.put(KINDS.mutatingWebhooks, {
    metadata: { name: NAMES.injector, labels: LABELS },
    webhooks: [{ name: "pods.injector.shimmy.io", clientConfig: { caBundle: base64(ca) } }],
  });
}

/** A Node that is fit. */
export function putNode(server: FakeApiServer, name: string, nodeInfo: object = {}): void {
  server.put(KINDS.nodes, {
    metadata: { name },
    status: {
      nodeInfo: {
        kubeletVersion: "v1.34.4",
        kernelVersion: "6.18.44",
        operatingSystem: "linux",
        architecture: "amd64",
        ...nodeInfo,
      },
    },
  });
}

/** What the agent of a node reports. */
export function putShimmyNode(
  server: FakeApiServer,
  name: string,
  conditions: Readonly<Record<string, string>> = { Ready: "True" },
): void {
  server.put(KINDS.shimmyNodes, {
    metadata: { name },
    status: {
      agentVersion: VERSION,
      conditions: Object.entries(conditions).map(([type, status]) => ({
        type,
        status,
        reason: "Because",
        message: "a sentence",
      })),
    },
  });
}

/** The pod of an agent. */
export function putAgent(server: FakeApiServer, node: string, ready = "True"): void {
  server.put(KINDS.pods, {
    metadata: {
      name: `shimmy-agent-${node}`,
      namespace: SYSTEM,
      labels: { ...LABELS, "app.kubernetes.io/component": "agent" },
    },
    spec: { nodeName: node, containers: [{ name: "agent" }] },
    status: { phase: "Running", conditions: [{ type: "Ready", status: ready }] },
  });
}

const PLAIN_POD = {
  namespace: "shop",
  sidecar: true,
  version: VERSION,
  annotations: {},
  labels: {},
};

/** A pod of somebody, with the sidecar unless told otherwise. */
export function putPod(server: FakeApiServer, name: string, change: PodChange = {}): void {
  const { namespace, sidecar, version, annotations, labels } = { ...PLAIN_POD, ...change };
  const written = sidecar ? { "shimmy.io/status": JSON.stringify({ version }) } : {};
  const ownerReferences = change.owner === undefined ? [] : [change.owner];
  const initContainers = sidecar ? [{ name: "shimmy-sidecar", restartPolicy: "Always" }] : [];
  server.put(KINDS.pods, {
    metadata: {
      name,
      namespace,
      labels,
      annotations: { ...written, ...annotations },
      ownerReferences,
    },
    spec: { nodeName: "n1", containers: [{ name: "app" }], initContainers },
    status: { phase: "Running", qosClass: "Burstable", ...change.status },
  });
}

/** How a pod differs. */
export interface PodChange {
  readonly namespace?: string;
  readonly sidecar?: boolean;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly version?: string;
  readonly status?: object;
  readonly owner?: object;
}

/** Stores a cluster in which Shimmy is installed and all is well, with one opted-in pod. */
export function putHealthyCluster(server: FakeApiServer, certificates: TestCertificates): void {
  putNode(server, "n1");
  putShimmyNode(server, "n1");
  putAgent(server, "n1");
  putCertificates(server, certificates);
  for (const name of [SYSTEM, "shop"]) server.put(KINDS.namespaces, { metadata: { name } });
  const labels = { ...LABELS, "app.kubernetes.io/version": VERSION };
  for (const name of [NAMES.injector, NAMES.master]) {
    server.put(KINDS.deployments, {
      metadata: { name, namespace: SYSTEM, labels },
      spec: { replicas: 2 },
      status: { readyReplicas: 2 },
    });
  }
  server.put(KINDS.daemonSets, { metadata: { name: NAMES.agent, namespace: SYSTEM, labels } });
  server.put(KINDS.leases, {
    metadata: { name: NAMES.master, namespace: SYSTEM },
    spec: { holderIdentity: "m1", renewTime: new Date().toISOString() },
  });
  for (const plural of ["sharedmemoryobjects", "shimmynodes"]) {
    server.put(KINDS.definitions, {
      metadata: { name: `${plural}.shimmy.io` },
      spec: { versions: [{ name: "v1alpha1", served: true }] },
      status: { conditions: [{ type: "Established", status: "True" }] },
    });
  }
  for (const name of [NAMES.injectedPolicy, NAMES.nodeStatusPolicy]) {
    server.put(KINDS.admissionPolicies, { metadata: { name, labels: LABELS } });
    server.put(KINDS.admissionBindings, { metadata: { name, labels: LABELS } });
  }
  putPod(server, "web-1");
}

/** How {@link apiBehaviour} answers. */
export interface ApiBehaviour {
  readonly version?: string;
  /** Whether the user may do something: by verb and plural. */
  readonly allows?: (verb: string, resource: string) => boolean;
  /** What admission does with a pod; injects it by default. */
  readonly admit?: (pod: Fields) => unknown;
  /** What agents report of sidecars. */
  readonly fallbacks?: readonly object[];
  readonly streams?: readonly object[];
}

/** What a real API server does besides storing: its version, permissions and admission. */
export function apiBehaviour({
  version = "v1.34.4",
  allows = () => true,
  admit = (pod) => ({ status: 201, body: inject(pod) }),
  fallbacks = [],
  streams = [{ transport: "shm" }],
}: ApiBehaviour = {}): FakeApiServer["intercept"] {
  return ({ method, path, body, query }: SeenRequest) => {
    if (path === "/version") return { status: 200, body: { gitVersion: version } };
    if (path.endsWith("/selfsubjectaccessreviews")) {
      const { spec } = body as unknown as {
        spec: { resourceAttributes: { verb: string; resource: string } };
      };
      const { verb, resource } = spec.resourceAttributes;
      return { status: 201, body: { status: { allowed: allows(verb, resource) } } };
    }
    if (path.endsWith("/proxy/v1/fallbacks")) return { status: 200, body: { fallbacks } };
    if (path.endsWith("/proxy/v1/streams")) return { status: 200, body: { streams } };
    const isTrial = method === "POST" && path.endsWith("/pods") && query.get("dryRun") === "All";
    return isTrial ? (admit(body as unknown as Fields) as FakeAnswer) : undefined;
  };
}

/** As the webhook does it. */
export function inject(pod: Fields): unknown {
  const config = readInjectionConfig({ image: "shimmy:1" });
  const result = injectPod({ pod, podNamespace: "default", namespace: {} }, config);
  if (result.outcome !== "injected") throw new Error(`not injected: ${JSON.stringify(result)}`);
  return applyPatch(pod, result.patch);
}
