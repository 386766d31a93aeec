import { expect } from "chai";

import { APPS_IMAGE, Cluster } from "../helpers/cluster.ts";
import { eventually } from "../helpers/eventually.ts";

interface Container {
  readonly name: string;
  readonly restartPolicy?: string;
}

interface PodSpec {
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
}

interface Metadata {
  readonly annotations?: Readonly<Record<string, string>>;
}

interface Pod {
  readonly metadata: Metadata;
  readonly spec: PodSpec;
}

const IN_TIME_MS = 60_000;
const RESTRICTED = `securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    seccompProfile: { type: RuntimeDefault }`;
const RESTRICTED_CONTAINER =
  "securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }";

/** A pod that does nothing, with these annotations. */
function pod(name: string, annotations: Readonly<Record<string, string>>, spec = ""): string {
  return `apiVersion: v1
kind: Pod
metadata: { name: ${name}, annotations: ${JSON.stringify(annotations)} }
spec:
  ${RESTRICTED}
  ${spec}
  containers:
    - name: app
      image: ${APPS_IMAGE}
      imagePullPolicy: Never
      command: [sleep, "1000000"]
      ${RESTRICTED_CONTAINER}
`;
}

const ENABLED = { "shimmy.io/inject": "enabled" };

/** Templates of everything that makes pods; \`metadata\` is the workload's own. */
function workload(kind: string, annotations: Readonly<Record<string, string>>): string {
  const template = `metadata: { labels: { app: x } }
      spec: { restartPolicy: RESTART, containers: [{ name: app, image: ${APPS_IMAGE} }] }`;
  const selector = "selector: { matchLabels: { app: x } }";
  const always = template.replace("RESTART", "Always");
  const never = template.replace("RESTART", "Never");
  const metadata = `metadata: { name: x, annotations: ${JSON.stringify(annotations)} }`;
  const specs: Readonly<Record<string, string>> = {
    Deployment: `apiVersion: apps/v1\n${metadata}\nspec:\n  ${selector}\n  template:\n      ${always}`,
    StatefulSet: `apiVersion: apps/v1\n${metadata}\nspec:\n  serviceName: x\n  ${selector}\n  template:\n      ${always}`,
    DaemonSet: `apiVersion: apps/v1\n${metadata}\nspec:\n  ${selector}\n  template:\n      ${always}`,
    Job: `apiVersion: batch/v1\n${metadata}\nspec:\n  template:\n      ${never}`,
    CronJob: `apiVersion: batch/v1\n${metadata}\nspec:\n  schedule: "0 0 1 1 *"\n  jobTemplate:\n    spec:\n     template:\n      ${never}`,
  };
  return `kind: ${kind}\n${specs[kind] ?? ""}\n`;
}

describe("admission by a real API server", function () {
  this.timeout(180_000);
  let cluster: Cluster;

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start(1);
    await cluster.install();
    await cluster.rolledOut("deployment/shimmy-injector", "shimmy-system");
    await cluster.rolledOut("daemonset/shimmy-agent", "shimmy-system");
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await cluster.describe());
  });

  after(async function () {
    await cluster.close();
  });

  /** What the API server would store. */
  async function admitted<T>(yaml: string, namespace = "default"): Promise<T> {
    const args = ["-n", namespace, "create", "--dry-run=server", "-o", "json", "-f"];
    return JSON.parse(await cluster.kubectl(...args, cluster.write(yaml))) as T;
  }

  async function refusal(act: () => Promise<unknown>): Promise<string> {
    try {
      await act();
    } catch (err) {
      return String(err);
    }
    throw new Error("admitted");
  }

  it("should give a pod that opted in a native sidecar, first of all", async function () {
    const { spec } = await admitted<Pod>(pod("a", ENABLED));
    expect(spec.initContainers?.[0]).to.include({
      name: "shimmy-sidecar",
      restartPolicy: "Always",
    });
  });

  it("should leave pods alone that did not opt in, or opted out", async function () {
    for (const annotations of [{}, { "shimmy.io/inject": "disabled" }]) {
      const { spec } = await admitted<Pod>(pod("a", annotations));
      expect(spec.initContainers).to.equal(undefined);
    }
  });

  it("should refuse a bad value, and name it", async function () {
    const annotations = { ...ENABLED, "shimmy.io/upstreams": "nginx:99999" };
    expect(await refusal(() => admitted(pod("a", annotations)))).to.match(/upstreams.*99999/s);
  });

  it("should refuse what cannot be honoured, with a sentence", async function () {
    const spec = "hostNetwork: true";
    const problem = await refusal(() => admitted(pod("a", ENABLED, spec)));
    expect(problem).to.match(/hostNetwork|host's network|node's network/);
  });

  for (const kind of ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"]) {
    it(`should carry the keys of a ${kind} to its template`, async function () {
      const text = JSON.stringify(await admitted(workload(kind, ENABLED)));
      expect(text).to.include('"shimmy.io/carried":"shimmy.io/inject=');
      expect(JSON.stringify(await admitted(workload(kind, {})))).not.to.include("shimmy.io/");
    });
  }

  it("should inject in a namespace of restricted Pod Security", async function () {
    const level = "pod-security.kubernetes.io/enforce=restricted";
    await cluster.kubectl("create", "namespace", "tight");
    await cluster.kubectl("label", "namespace", "tight", level, "shimmy.io/inject=enabled");
    const { spec } = await admitted<Pod>(pod("a", {}), "tight");
    expect(spec.initContainers?.[0]?.name).to.equal("shimmy-sidecar");
  });

  it("should let a Job with a sidecar complete", async function () {
    await cluster.apply(`apiVersion: batch/v1
kind: Job
metadata: { name: once, namespace: default, annotations: ${JSON.stringify(ENABLED)} }
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - { name: app, image: "${APPS_IMAGE}", imagePullPolicy: Never, command: ["true"] }
`);
    await cluster.kubectl("wait", "--for=condition=complete", "job/once", "--timeout=60s");
    const text = await cluster.kubectl("get", "pods", "-l", "job-name=once", "-o", "json");
    const [only] = (JSON.parse(text) as { items: readonly Pod[] }).items;
    expect(only?.spec.initContainers?.[0]?.name).to.equal("shimmy-sidecar");
  });

  it("should hold a kind to its rules", async function () {
    const object = (type: string, publishers = "{ containers: [a] }"): string => `
apiVersion: shimmy.io/v1alpha1
kind: SharedMemoryObject
metadata: { name: x, namespace: default }
spec: { type: ${type}, publishers: ${publishers}, subscribers: { containers: [b] } }
`;
    const problem = (yaml: string): Promise<string> => refusal(() => cluster.apply(yaml));
    expect(await problem(object("Pipe"))).to.match(/spec\.type.*Pipe/s);
    expect(await problem(object("PubSub", "{ podSelector: {} }"))).to.match(/empty/);
    await cluster.apply(object("PubSub"));
    expect(await problem(object("Stream"))).to.match(/spec\.type|cannot be changed|immutable/);
  });

  it("should keep everybody but a node's agent from its ShimmyNode's status", async function () {
    const name = await eventually("the node's object", async () => {
      const names = await cluster.kubectl("get", "shimmynodes", "-o", "name");
      return names === "" ? undefined : names;
    });
    const patch = '{"status":{"conditions":[]}}';
    const args = ["patch", name, "--subresource=status", "--type=merge", "-p", patch];
    expect(await refusal(() => cluster.kubectl(...args))).to.include("shimmy-node-status");
  });

  it("should hold back only what opted in while the injector is down", async function () {
    await cluster.apply(pod("kept", ENABLED));
    const scale = (count: number): Promise<string> =>
      cluster.kubectl(
        ...["-n", "shimmy-system", "scale", "deployment/shimmy-injector", `--replicas=${count}`],
      );
    await scale(0);
    // Its last requests it still answers.
    await eventually(
      "the injector to be gone",
      async () => {
        const problem = await admitted(pod("a", ENABLED)).then(() => "", String);
        return problem.includes("failed calling webhook");
      },
      IN_TIME_MS,
    );
    expect((await admitted<Pod>(pod("a", {}))).spec.containers).to.have.length(1);
    await cluster.kubectl("delete", "pod", "kept", "--grace-period=1");
    await scale(2);
    await cluster.rolledOut("deployment/shimmy-injector", "shimmy-system");
    await eventually("injection", async () => {
      const { spec } = await admitted<Pod>(pod("a", ENABLED)).catch(() => ({ spec: undefined }));
      return spec?.initContainers?.[0]?.name === "shimmy-sidecar";
    });
  });

  it("should not admit what opted in without its sidecar, webhooks or not", async function () {
    await cluster.kubectl("delete", "mutatingwebhookconfiguration", "shimmy-injector");
    await eventually("the policy to be asked alone", async () => {
      const problem = await refusal(() => admitted(pod("a", ENABLED)));
      return problem.includes("shimmy-injected");
    });
    expect((await admitted<Pod>(pod("a", {}))).spec.containers).to.have.length(1);
  });
});
