import { expect } from "chai";

import { AGENT_CONFIG } from "../../../agent/env.ts";
import type { ConfigSchema } from "../../../common/env.ts";
import { VERSION } from "../../../common/version.ts";
import { readInjectionConfig } from "../../../injector/config.ts";
import { INJECTOR_CONFIG } from "../../../injector/env.ts";
import { MASTER_CONFIG } from "../../../master/env.ts";
import { UNSET_IMAGE } from "../../../scripts/kubernetes/chart.ts";
import { idOf } from "../../helpers/manifests.ts";
import {
  filesBelow,
  readManifestFile,
  resourcesOf,
  workloads,
  type Container,
  type Workload,
} from "./sources.ts";

const OBJECTS = resourcesOf("base");
const WORKLOADS = workloads();
const CONTAINERS = WORKLOADS.flatMap((workload) =>
  workload.spec.template.spec.containers.map((container) => ({ workload, container })),
);

/** By the first argument of `shimmy`. */
const PARTS: Readonly<Record<string, { schema: ConfigSchema; port: number }>> = {
  agent: { schema: AGENT_CONFIG, port: 14_790 },
  injector: { schema: INJECTOR_CONFIG, port: Number(INJECTOR_CONFIG.port.default) },
  master: {
    schema: MASTER_CONFIG,
    port: Number(MASTER_CONFIG.adminAddress.default.split(":").at(-1)),
  },
};

/** What the restricted Pod Security Standard refuses, with a reason in the manifest. */
const EXCEPTIONS: Readonly<Record<string, readonly string[]>> = {
  "shimmy-agent": ["hostPID", "seLinuxOptions"],
  "shimmy-agent/netns-helper": ["root", "SYS_ADMIN", "SYS_PTRACE", "appArmorProfile"],
};

/** @see https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted */
function containerProblems({ spec }: Workload, container: Container): string[] {
  const context: Readonly<Record<string, unknown>> = {
    ...spec.template.spec.securityContext,
    ...container.securityContext,
  };
  const { drop = [], add = [] } = (context["capabilities"] ?? {}) as Record<string, string[]>;
  const { type } = (context["seccompProfile"] ?? {}) as { type?: string };
  const problems: Readonly<Record<string, boolean>> = {
    root: context["runAsNonRoot"] !== true,
    capabilities: drop.join() !== "ALL",
    ...Object.fromEntries(add.map((name) => [name, true])),
    seccompProfile: type !== "RuntimeDefault",
    allowPrivilegeEscalation: context["allowPrivilegeEscalation"] !== false,
    readOnlyRootFilesystem: context["readOnlyRootFilesystem"] !== true,
    privileged: context["privileged"] === true,
    appArmorProfile: "appArmorProfile" in context,
  };
  return Object.keys(problems).filter((name) => problems[name]);
}

describe("manifests/base", function () {
  it("should hold a DaemonSet of agents, and Deployments of injectors and masters", function () {
    expect(WORKLOADS.map(idOf)).to.have.members([
      "DaemonSet/shimmy-agent",
      "Deployment/shimmy-injector",
      "Deployment/shimmy-master",
    ]);
  });

  it("should use every file", function () {
    const named = ["base", "base/crds"].flatMap((folder) => {
      const text = readManifestFile(`${folder}/kustomization.yaml`);
      return [...text.matchAll(/^ {2}- (\S+\.yaml)$/gm)].map(
        ([, path]) => `${folder}/${path ?? ""}`,
      );
    });
    const files = filesBelow("base").filter((path) => !path.endsWith("/kustomization.yaml"));
    expect(named).to.have.members(files);
  });

  it("should have one image, which nobody can pull", function () {
    const images = CONTAINERS.map(({ container }) => container.image);
    expect(new Set(images)).to.deep.equal(new Set([UNSET_IMAGE]));
    const config = OBJECTS.find((object) => idOf(object) === "ConfigMap/shimmy-config");
    const data = config?.["data"] as Record<string, string>;
    expect(data["image"]).to.equal(UNSET_IMAGE);
    // The injector does not start with it.
    expect(() => readInjectionConfig(data)).to.throw("image: expected the name of an image");
    expect(readInjectionConfig({ ...data, image: "r/shimmy:1" }).settings.image).to.equal(
      "r/shimmy:1",
    );
  });

  it("should name no registry", function () {
    const found = filesBelow("").filter((path) => {
      if (path.endsWith(".json")) return false;
      return /^\s*-?\s*(?:image|newName): *["']?[\w.-]+[.:\w-]*\//m.test(readManifestFile(path));
    });
    expect(found).to.deep.equal([]);
  });

  for (const { workload, container } of CONTAINERS) {
    const { template } = workload.spec;
    const pod = template.spec;
    const name = `${workload.metadata.name}/${container.name}`;

    it(`should let ${name} have no more than it needs`, function () {
      expect(containerProblems(workload, container)).to.deep.equal(EXCEPTIONS[name] ?? []);
    });

    it(`should bound the memory of ${name}`, function () {
      expect(container.resources.requests).to.have.keys("cpu", "memory");
      // A limit of CPU would throttle, and every pod of the node would wait.
      expect(container.resources.limits).to.have.keys("memory");
    });

    it(`should mount only volumes that are there, and every one, in ${name}`, function () {
      const volumes = pod.volumes.map((volume) => volume.name);
      expect(volumes).to.include.members(container.volumeMounts.map((mount) => mount.name));
      const mounted = pod.containers.flatMap((each) =>
        each.volumeMounts.map((mount) => mount.name),
      );
      expect([...new Set(mounted)]).to.have.members(volumes);
    });

    it(`should give ${name} a token only if it talks to the API server`, function () {
      expect(pod.automountServiceAccountToken).to.equal(false);
      const has = container.volumeMounts.some((mount) => mount.name === "account");
      expect(has).to.equal(container.name !== "netns-helper");
    });

    const part = PARTS[container.args?.[0] ?? ""];
    if (part === undefined) continue;

    it(`should set variables that ${name} knows`, function () {
      const known = Object.values(part.schema).map(({ env }) => env);
      expect(known).to.include.members((container.env ?? []).map((variable) => variable.name));
    });

    it(`should probe ${name} on the port that it listens on`, function () {
      expect(container.ports?.map(({ containerPort }) => containerPort)).to.deep.equal([part.port]);
      const [port] = container.ports ?? [];
      const scheme = container.name === "injector" ? { scheme: "HTTPS" } : {};
      const probe = (path: string): object => ({ ...scheme, path, port: port?.name });
      expect(container.startupProbe?.httpGet).to.deep.equal(probe("/healthz"));
      expect(container.livenessProbe?.httpGet).to.deep.equal(probe("/healthz"));
      expect(container.readinessProbe?.httpGet).to.deep.equal(probe("/readyz"));
    });
  }

  for (const workload of WORKLOADS) {
    const { name } = workload.metadata;
    const { selector, template } = workload.spec;

    it(`should see of the node only what ${name} needs`, function () {
      const { securityContext } = template.spec;
      const host = ["hostPID", "hostIPC", "hostNetwork"].filter((key) => key in template.spec);
      const special = ["seLinuxOptions"].filter((key) => key in securityContext);
      expect([...host, ...special]).to.deep.equal(EXCEPTIONS[name] ?? []);
      const kinds = template.spec.volumes.flatMap((volume) => Object.keys(volume));
      expect(kinds).not.to.include("hostPath");
    });

    it(`should select the pods of ${name}, and them only`, function () {
      const { labels } = template.metadata;
      expect(labels).to.include(selector.matchLabels);
      expect(labels["app.kubernetes.io/part-of"]).to.equal("shimmy");
      expect(name).to.equal(`shimmy-${labels["app.kubernetes.io/component"] ?? ""}`);
    });

    it(`should have the account of ${name}`, function () {
      expect(template.spec.serviceAccountName).to.equal(name);
      expect(OBJECTS.map(idOf)).to.include(`ServiceAccount/${name}`);
    });
  }

  it("should let disruption budgets and the Service select pods of their part", function () {
    const selecting = OBJECTS.filter(({ kind }) => /^(?:PodDisruptionBudget|Service)$/.test(kind));
    expect(selecting.map(idOf)).to.have.members([
      "PodDisruptionBudget/shimmy-injector",
      "PodDisruptionBudget/shimmy-master",
      "Service/shimmy-injector",
    ]);
    for (const object of selecting) {
      const spec = object["spec"] as { selector: { matchLabels?: object } };
      const part = WORKLOADS.find(({ metadata }) => metadata.name === object.metadata.name);
      const expected = part?.spec.selector.matchLabels;
      expect(spec.selector.matchLabels ?? spec.selector).to.deep.equal(expected);
    }
  });

  it("should state the version of the project", function () {
    const files = filesBelow("").filter((path) => path.endsWith("/kustomization.yaml"));
    const versions = files.flatMap((path) => [
      ...readManifestFile(path).matchAll(/app\.kubernetes\.io\/version: (.*)/g),
    ]);
    expect(versions.length).to.be.above(3);
    expect(new Set(versions.map(([, version]) => version))).to.deep.equal(new Set([VERSION]));
    const chart = readManifestFile("chart/Chart.yaml");
    expect(chart).to.include(`\nversion: ${VERSION}\n`).and.include(`\nappVersion: ${VERSION}\n`);
  });
});
