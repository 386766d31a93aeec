import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { INJECTION_REASONS } from "../../../common/reasons.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { CLUSTER_KEYS } from "../../../injector/config.ts";
import { NO_TOKEN_VOLUME } from "../../../injector/sidecar-container.ts";
import { VOCABULARY, WRITTEN } from "../../../injector/vocabulary.ts";
import { workloadKind } from "../../../injector/workloads.ts";
import { CARRIED_RESOURCES } from "../../../master/uncarried.ts";
import { idOf } from "../../helpers/manifests.ts";
import { readManifestFile, resourcesOf } from "./sources.ts";

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly operations: readonly string[];
  readonly scope: string;
}

interface Requirement {
  readonly key: string;
  readonly operator: string;
  readonly values: readonly string[];
}

interface Webhook {
  readonly name: string;
  readonly clientConfig: {
    readonly service: Readonly<Record<"name" | "namespace" | "path", string>> & {
      readonly port: number;
    };
    readonly caBundle?: string;
  };
  readonly namespaceSelector: { readonly matchExpressions: readonly Requirement[] };
  readonly rules: readonly Rule[];
  readonly matchConditions: readonly { readonly name: string; readonly expression: string }[];
}

const OBJECTS = resourcesOf("base");

function find(id: string): Readonly<Record<string, unknown>> {
  const found = OBJECTS.find((object) => idOf(object) === id);
  if (found === undefined) throw new Error(`no ${id}`);
  return found;
}

const WEBHOOKS = find("MutatingWebhookConfiguration/shimmy-injector")["webhooks"] as Webhook[];
const EXCLUDED = [...CLUSTER_KEYS["excluded-namespaces"].default.split(",")];

describe("manifests/base/injector/webhook.yaml", function () {
  it("should fail closed, soon, and without effects elsewhere", function () {
    for (const webhook of WEBHOOKS) {
      expect(webhook).to.deep.include({
        failurePolicy: "Fail",
        matchPolicy: "Equivalent",
        reinvocationPolicy: "IfNeeded",
        sideEffects: "None",
        timeoutSeconds: 5,
        admissionReviewVersions: ["v1"],
      });
    }
  });

  it("should call paths that the injector serves", function () {
    const source = readFileSync(join(PACKAGE_ROOT, "injector/main.ts"), "utf8");
    const paths = WEBHOOKS.map(({ clientConfig }) => clientConfig.service.path);
    expect(paths).to.deep.equal(["/pods", "/pods-of-namespace", "/workloads"]);
    for (const path of paths) expect(source).to.include(`"POST ${path}":`);
  });

  it("should call the Service, and leave the CA to the master", function () {
    const { metadata, spec } = find("Service/shimmy-injector") as unknown as {
      metadata: { name: string; namespace: string };
      spec: { ports: { port: number }[] };
    };
    for (const { clientConfig } of WEBHOOKS) {
      const { name, namespace, port } = clientConfig.service;
      expect({ name, namespace }).to.deep.equal({
        name: metadata.name,
        namespace: metadata.namespace,
      });
      expect(spec.ports.map((each) => each.port)).to.deep.equal([port]);
      expect(clientConfig).not.to.have.property("caBundle");
    }
  });

  it("should leave the namespaces alone that the injector leaves alone", function () {
    const excluded = { key: "kubernetes.io/metadata.name", operator: "NotIn", values: EXCLUDED };
    for (const { namespaceSelector } of WEBHOOKS) {
      expect(namespaceSelector.matchExpressions).to.deep.include(excluded);
    }
    const { spec } = find("ValidatingAdmissionPolicy/shimmy-injected") as unknown as {
      spec: { matchConstraints: Pick<Webhook, "namespaceSelector"> };
    };
    expect(spec.matchConstraints.namespaceSelector.matchExpressions).to.deep.equal([excluded]);
  });

  it("should ask about the workloads whose keys are carried, and Jobs that are new", function () {
    const rules = WEBHOOKS.at(-1)?.rules ?? [];
    const asked = rules.flatMap(({ apiGroups, resources, operations, scope }) =>
      resources.map((resource) => [...apiGroups, resource, ...operations, scope].join(" ")),
    );
    const expected = CARRIED_RESOURCES.map(({ apiVersion, plural }) =>
      [apiVersion.split("/")[0], plural, "CREATE UPDATE Namespaced"].join(" "),
    );
    expect(asked).to.have.members([...expected, "batch jobs CREATE Namespaced"]);
    const job = workloadKind({ apiVersion: "batch/v1", kind: "Job" });
    expect(job).to.include({ isCarried: true, isMutable: false });
  });

  it("should know the keys that Shimmy writes", function () {
    const { expression } = WEBHOOKS.at(-1)?.matchConditions.at(-1) ?? { expression: "" };
    const written = Object.values(WRITTEN).map(({ key }) => `'${key}'`);
    expect(expression)
      .to.include(`[${written.join(", ")}]`)
      .and.include(VOCABULARY.inject.key);
  });
});

describe("manifests/base/admission/injected.yaml", function () {
  const text = readManifestFile("base/admission/injected.yaml");

  it("should know every reason for which a pod of a namespace is left alone", function () {
    const known = new Set([...text.matchAll(/'([a-z_]+)'/g)].map(([, reason]) => reason));
    // Nothing was asked for, the sidecar is there, it is not looked at, or it was removed.
    const others = [
      "not_opted_in",
      "opted_out",
      "already_injected",
      "mirror_pod",
      "sidecar_altered",
    ];
    const unknown = INJECTION_REASONS.filter((reason) => !known.has(reason));
    expect(unknown).to.have.members(others);
    expect(text).to.include(NO_TOKEN_VOLUME);
  });

  it("should be bound, as the other", function () {
    for (const name of ["shimmy-injected", "shimmy-node-status"]) {
      const { spec } = find(`ValidatingAdmissionPolicyBinding/${name}`);
      expect(spec).to.deep.equal({ policyName: name, validationActions: ["Deny"] });
      expect(find(`ValidatingAdmissionPolicy/${name}`)["spec"]).to.include({
        failurePolicy: "Fail",
      });
    }
  });
});
