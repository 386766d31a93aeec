import { expect } from "chai";

import { VERSION } from "../../../common/version.ts";
import {
  helmTemplate,
  idOf,
  installKubectl,
  kustomize,
  runHelm,
  type Manifest,
} from "../../helpers/manifests.ts";
import { install } from "./overlay.ts";

/** What the chart gives and Kustomize does not. */
const CHART_LABELS = ["app.kubernetes.io/managed-by", "helm.sh/chart"];
/** Those that stay when the chart is uninstalled; what Kustomize applies is chosen by the folder. */
const CHART_ANNOTATIONS = ["helm.sh/resource-policy"];
/** Made before the chart is installed: the release is recorded in it. */
const NOT_IN_CHART = ["Namespace/shimmy-system"];

/** Objects by kind and name, without what only one of the tools gives. */
function comparable(objects: readonly Manifest[]): Record<string, Manifest> {
  const entries = objects.map((object): [string, Manifest] => {
    const { labels = {}, annotations = {} } = object.metadata;
    const metadata = {
      ...object.metadata,
      labels: without(labels, CHART_LABELS),
      annotations: without(annotations, CHART_ANNOTATIONS),
    };
    return [idOf(object), { ...object, metadata }];
  });
  return Object.fromEntries(entries.filter(([id]) => !NOT_IN_CHART.includes(id)));
}

function without(
  entries: Readonly<Record<string, string>>,
  names: readonly string[],
): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).filter(([key]) => !names.includes(key)));
}

function find(objects: readonly Manifest[], id: string): Manifest {
  const found = objects.find((object) => idOf(object) === id);
  if (found === undefined) throw new Error(`no ${id}`);
  return found;
}

describe("manifests/chart", function () {
  before(installKubectl);

  it("should render what Kustomize renders, but for a list of labels", async function () {
    const crds = await kustomize("manifests/base/crds");
    const ours = comparable([...(await install()), ...crds]);
    const theirs = comparable(await helmTemplate());
    expect(Object.keys(theirs)).to.have.members(Object.keys(ours));
    for (const [id, object] of Object.entries(ours)) expect(theirs[id], id).to.deep.equal(object);
  });

  for (const { components, args } of [
    { components: ["pod-monitors"], args: ["--set", "monitoring.podMonitors=true"] },
    { components: ["alerts"], args: ["--set", "monitoring.alerts=true"] },
    { components: ["dashboard"], args: ["--set", "monitoring.dashboard=true"] },
    { components: ["cert-manager"], args: ["--set", "certManager=true"] },
    { components: ["eviction"], args: ["--set", "master.evictUninjected=true"] },
    {
      components: ["cert-manager", "eviction"],
      args: ["--set", "certManager=true,master.evictUninjected=true"],
    },
    { components: ["openshift"], args: ["--set", "openshift=true"] },
    { components: ["kubernetes-1.28"], args: ["--kube-version", "1.28.0"] },
  ]) {
    it(`should render with ${args.join(" ")} what the component renders`, async function () {
      const crds = await kustomize("manifests/base/crds");
      const ours = comparable([...(await install(...components)), ...crds]);
      const theirs = comparable(await helmTemplate(...args));
      expect(Object.keys(theirs)).to.have.members(Object.keys(ours));
      for (const [id, object] of Object.entries(ours)) expect(theirs[id], id).to.deep.equal(object);
    });
  }

  it("should let a Prometheus select what is for it by labels", async function () {
    const objects = await helmTemplate(
      ...[
        "--set",
        "monitoring.podMonitors=true,monitoring.alerts=true,monitoring.labels.team=mesh",
      ],
    );
    const labelled = objects.filter(({ metadata }) => metadata.labels?.["team"] === "mesh");
    expect(new Set(labelled.map(({ kind }) => kind))).to.deep.equal(
      new Set(["PodMonitor", "PrometheusRule"]),
    );
  });

  it("should give every object its labels", async function () {
    for (const { metadata } of await helmTemplate()) {
      expect(metadata.labels).to.include({
        "app.kubernetes.io/name": "shimmy",
        "app.kubernetes.io/part-of": "shimmy",
        "app.kubernetes.io/version": VERSION,
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": `shimmy-${VERSION}`,
      });
    }
  });

  it("should keep the kind whose objects people write, and only that", async function () {
    const kept = (await helmTemplate()).filter(
      ({ metadata }) => metadata.annotations?.["helm.sh/resource-policy"] === "keep",
    );
    expect(kept.map(idOf)).to.deep.equal([
      "CustomResourceDefinition/sharedmemoryobjects.shimmy.io",
    ]);
  });

  for (const { what, args, message } of [
    { what: "no image is given", args: [], message: /image is required: --set image=/ },
    {
      what: "the image has no name that images have",
      args: ["--set", "image=a b"],
      message: /image/,
    },
    {
      what: "the namespace is another",
      args: ["--set", "image=a/shimmy:1", "--namespace", "default"],
      message: /Shimmy lives in the namespace shimmy-system, not in default/,
    },
    {
      what: "a value does not exist",
      args: ["--set", "image=a/shimmy:1", "--set", "agents.replicas=1"],
      message: /additional properties 'agents' not allowed/,
    },
    {
      what: "a value is of the wrong type",
      args: ["--set", "image=a/shimmy:1", "--set", "injector.replicas=none"],
      message: /\/injector\/replicas.*want integer/,
    },
    {
      what: "there is to be no injector",
      args: ["--set", "image=a/shimmy:1", "--set", "injector.replicas=0"],
      message: /\/injector\/replicas/,
    },
    {
      what: "the image of sidecars is given apart",
      args: ["--set", "image=a/shimmy:1", "--set", "config.image=b/shimmy:1"],
      message: /\/config/,
    },
    {
      what: "the cluster is too old",
      args: ["--set", "image=a/shimmy:1", "--kube-version", "1.27.0"],
      message: /kubeVersion.*1\.28/,
    },
  ]) {
    it(`should say so when ${what}`, async function () {
      const { code, stderr } = await runHelm(...args);
      expect(code).to.equal(1);
      expect(stderr).to.match(message);
    });
  }

  it("should put values where they belong", async function () {
    const objects = await helmTemplate(
      ...["--set", "config.transport=tcp,config.ipv6-only=true"],
      ...["--set", "imagePullSecrets[0].name=ours,imagePullPolicy=Always"],
      ...["--set", "agent.nodeSelector.disk=fast,injector.replicas=3"],
      ...["--set", "master.resources.limits.memory=1Gi"],
      ...["--set-json", 'injector.tolerations=[{"key":"control","operator":"Exists"}]'],
    );
    expect(find(objects, "ConfigMap/shimmy-config")["data"]).to.deep.include({
      transport: "tcp",
      "ipv6-only": "true",
    });
    const specs = ["DaemonSet/shimmy-agent", "Deployment/shimmy-injector"].map((id) => {
      const spec = find(objects, id)["spec"] as {
        replicas?: number;
        template: { spec: { containers: { imagePullPolicy: string }[]; nodeSelector: object } };
      };
      return { replicas: spec.replicas, ...spec.template.spec };
    });
    const [agent, injector] = specs;
    for (const spec of specs) {
      expect(spec).to.deep.include({ imagePullSecrets: [{ name: "ours" }] });
      expect(new Set(spec.containers.map((each) => each.imagePullPolicy))).to.deep.equal(
        new Set(["Always"]),
      );
    }
    expect(agent?.nodeSelector).to.deep.equal({ "kubernetes.io/os": "linux", disk: "fast" });
    expect(injector).to.deep.include({
      replicas: 3,
      tolerations: [{ key: "control", operator: "Exists" }],
    });
    expect(JSON.stringify(find(objects, "Deployment/shimmy-master"))).to.include('"memory":"1Gi"');
  });

  for (const args of [
    ["--set", "runAsUser=null"],
    ["--set", "openshift=true"],
  ]) {
    it(`should leave users to the cluster with ${args.join(" ")}`, async function () {
      const objects = await helmTemplate(...args);
      for (const id of ["Deployment/shimmy-injector", "Deployment/shimmy-master"]) {
        expect(JSON.stringify(find(objects, id))).not.to.match(/runAsUser|runAsGroup/);
      }
      const { data } = find(objects, "ConfigMap/shimmy-config");
      expect(data).to.deep.include({ "run-as-user": "unset" });
    });
  }

  it("should render nothing that Kubernetes 1.28 does not know", async function () {
    const objects = await helmTemplate("--kube-version", "1.28.0");
    const kinds = objects.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind.startsWith("ValidatingAdmissionPolicy"))).to.be.empty;
    expect(JSON.stringify(find(objects, "Deployment/shimmy-injector"))).not.to.include("preStop");
  });

  it("should leave the kinds to others when told", async function () {
    const kinds = (await helmTemplate("--set", "crds.install=false")).map(({ kind }) => kind);
    expect(kinds).not.to.include("CustomResourceDefinition");
  });
});
