import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";
import { parse, parseAllDocuments } from "yaml";

import { PACKAGE_ROOT } from "../../../common/version.ts";
import {
  answerAdmission,
  type AdmissionAnswer,
  type AdmissionContext,
} from "../../../injector/admission.ts";
import { readInjectionConfig } from "../../../injector/config.ts";
import { injectPod } from "../../../injector/inject-pod.ts";
import { applyPatch, type JsonPatch } from "../../../injector/json-patch.ts";
import { isObject, objectAt, objectsAt, textAt, type Fields } from "../../../injector/raw.ts";
import { templateOf, workloadKind } from "../../../injector/workloads.ts";

const CONTEXT: AdmissionContext = {
  config: readInjectionConfig({ image: "shimmy:test" }),
  namespaceOf: () => undefined,
  isNamespaceOptedIn: false,
};

interface Response {
  readonly uid: string;
  readonly allowed: boolean;
  readonly patchType?: string;
  readonly patch?: string;
  readonly warnings?: readonly string[];
  readonly status?: { readonly code: number; readonly message: string };
}

function review(object: unknown, request: Fields = {}): Fields {
  const [group = "", kind = "Pod"] = isObject(object) ? groupAndKind(object) : [];
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
      kind: { group, version: "v1", kind },
      namespace: "shop",
      operation: "CREATE",
      object,
      ...request,
    },
  };
}

function groupAndKind(object: Fields): string[] {
  const [version = "", ...rest] = (textAt(object, "apiVersion") ?? "v1").split("/").toReversed();
  return [rest[0] ?? "", textAt(object, "kind") ?? version];
}

function responseOf({ review: { response } }: AdmissionAnswer): Response {
  return response as Response;
}

function decodePatch({ patch }: Response): JsonPatch {
  if (patch === undefined) return [];
  return JSON.parse(Buffer.from(patch, "base64").toString()) as JsonPatch;
}

function pod(annotations: Fields, spec: Fields = {}): Fields {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { generateName: "web-", annotations },
    spec: { containers: [{ name: "web" }], ...spec },
  };
}

function deployment(annotations: Fields, spec: Fields = {}): Fields {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", annotations },
    spec: { template: { metadata: {}, spec: { containers: [{ name: "web" }], ...spec } } },
  };
}

const ON = { "shimmy.io/inject": "enabled" };

describe("answerAdmission()", function () {
  it("should answer in v1, with the uid and the patch in base64", function () {
    const answer = answerAdmission(review(pod(ON)), CONTEXT);
    expect(answer.review).to.include({
      apiVersion: "admission.k8s.io/v1",
      kind: "AdmissionReview",
    });
    expect(answer).to.include({ outcome: "injected", object: "Pod/shop/web-" });
    const response = responseOf(answer);
    expect(response).to.include({
      uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
      allowed: true,
      patchType: "JSONPatch",
    });
    const result = injectPod({ pod: pod(ON), podNamespace: "shop", namespace: {} }, CONTEXT.config);
    expect(decodePatch(response)).to.deep.equal(result.outcome === "injected" && result.patch);
  });

  it("should refuse with the sentence and the reason", function () {
    const answer = answerAdmission(review(pod(ON, { hostNetwork: true })), CONTEXT);
    expect(answer).to.include({ outcome: "refused", reason: "host_network" });
    expect(responseOf(answer)).to.deep.include({
      allowed: false,
      status: {
        code: 403,
        message: "shimmy: hostNetwork is true: localhost is the node's (host_network)",
      },
    });
    expect(responseOf(answer)).not.to.have.any.keys("patch", "patchType", "warnings");
  });

  it("should leave a pod alone that nobody asked about", function () {
    const answer = answerAdmission(review(pod({})), CONTEXT);
    expect(answer).to.include({ outcome: "skipped", reason: "not_opted_in" });
    expect(responseOf(answer)).to.have.all.keys("uid", "allowed");
  });

  it("should take the namespace's opt-in from the entry that called, and its settings from memory", function () {
    const context: AdmissionContext = {
      ...CONTEXT,
      isNamespaceOptedIn: true,
      namespaceOf: (name) => ({
        labels: { "shimmy.io/inject": "disabled" },
        annotations: name === "shop" ? { "config.shimmy.io/log-level": "debug" } : {},
      }),
    };
    const response = responseOf(answerAdmission(review(pod({})), context));
    expect(JSON.stringify(decodePatch(response))).to.include(
      '{"name":"SHIMMY_LOG_LEVEL","value":"debug"}',
    );
  });

  it("should say on a pod why its namespace's opt-in was not honoured", function () {
    const context = { ...CONTEXT, isNamespaceOptedIn: true };
    const answer = answerAdmission(review(pod({}, { hostNetwork: true })), context);
    expect(answer).to.include({ outcome: "skipped", reason: "host_network" });
    expect(decodePatch(responseOf(answer))).to.deep.equal([
      { op: "add", path: "/metadata/annotations/shimmy.io~1skipped", value: "host_network" },
    ]);
  });

  it("should carry the keys of a workload", function () {
    const answer = answerAdmission(review(deployment(ON)), CONTEXT);
    expect(answer).to.include({ outcome: "carried", object: "Deployment/shop/web" });
    expect(decodePatch(responseOf(answer)).map(({ path }) => path)).to.deep.equal([
      "/spec/template/metadata/annotations",
      "/spec/template/metadata/annotations/shimmy.io~1inject",
      "/spec/template/metadata/annotations/shimmy.io~1carried",
    ]);
  });

  it("should admit a workload whose pods will be refused, with a warning", function () {
    const upstreams = { ...ON, "shimmy.io/upstreams": "orders" };
    const response = responseOf(answerAdmission(review(deployment(upstreams)), CONTEXT));
    expect(response.allowed).to.equal(true);
    expect(response.warnings).to.deep.equal([
      'shimmy: its pods will be refused, bad_value: pod annotation shimmy.io/upstreams: upstream "orders": has no local port, as in orders:9001',
    ]);
  });

  it("should warn of a misspelt key on a workload that did not opt in", function () {
    const response = responseOf(
      answerAdmission(review(deployment({ "shimmy.io/injekt": "enabled" })), CONTEXT),
    );
    expect(response.warnings?.[0]).to.include('did you mean "shimmy.io/inject"?');
  });

  it("should cut a long warning", function () {
    const entries = Object.fromEntries(
      Array.from({ length: 20 }, (_, i) => [`shimmy.io/unknown-${i}`, "x"]),
    );
    const response = responseOf(
      answerAdmission(review(deployment({ ...ON, ...entries })), CONTEXT),
    );
    expect(response.warnings?.[0]).to.have.lengthOf(240);
  });

  const unchanged: [what: string, object: unknown, request: Fields][] = [
    ["an update of a pod", pod(ON), { operation: "UPDATE" }],
    ["an ephemeral container", pod(ON), { subResource: "ephemeralcontainers" }],
    ["a deletion", undefined, { operation: "DELETE" }],
    ["a null object", null, {}],
    ["a Service", { apiVersion: "v1", kind: "Service", metadata: {} }, {}],
    [
      "a Job that exists",
      { ...deployment(ON), apiVersion: "batch/v1", kind: "Job" },
      { operation: "UPDATE" },
    ],
  ];
  for (const [what, object, request] of unchanged) {
    it(`should let ${what} through unchanged`, function () {
      const answer = answerAdmission(review(object, request), CONTEXT);
      expect(answer.outcome).to.equal("unchanged");
      expect(responseOf(answer)).to.include({ allowed: true }).and.not.have.any.keys("patch");
    });
  }

  it("should never fail a workload for its form", function () {
    const broken = { ...deployment(ON), spec: { template: "x" } };
    const response = responseOf(answerAdmission(review(broken), CONTEXT));
    expect(response.allowed).to.equal(true);
    expect(response.warnings).to.deep.equal(['shimmy: template must be an object, got "x"']);
  });

  for (const [what, value] of [
    ["nothing", undefined],
    ["a list", []],
    ["another kind", { kind: "Pod" }],
    ["v1beta1", { kind: "AdmissionReview", apiVersion: "admission.k8s.io/v1beta1" }],
    ["no request", { kind: "AdmissionReview", apiVersion: "admission.k8s.io/v1" }],
    ["no uid", { kind: "AdmissionReview", apiVersion: "admission.k8s.io/v1", request: {} }],
  ] as const) {
    it(`should throw SHIMMY_ERR_PROTOCOL on ${what}`, function () {
      expect(() => answerAdmission(value, CONTEXT))
        .to.throw()
        .with.property("code", "SHIMMY_ERR_PROTOCOL");
    });
  }
});

// The golden files are written through `shimmy inject`: the webhooks do the same, in two steps.
describe("answerAdmission() on the golden cases", function () {
  const folder = join(PACKAGE_ROOT, "test/fixtures/injection");

  for (const file of globSync("*.input.yaml", { cwd: folder }).toSorted()) {
    const input = readFileSync(join(folder, file), "utf8");
    const golden = readFileSync(join(folder, file.replace(".input.", ".golden.")), "utf8");
    it(`should do to ${file} what shimmy inject does`, function () {
      const context = goldenContext(input);
      const expected = podMakers(golden);
      for (const [index, object] of podMakers(input).entries()) {
        const place = { namespace: textAt(objectAt(object, "metadata"), "namespace") ?? "shop" };
        const carried = answerAdmission(review(object, place), context);
        const workload = applyPatch<Fields>(object, decodePatch(responseOf(carried)));
        const [before, after] = [templateIn(workload), templateIn(expected[index])];
        const request = { ...place, kind: { group: "", version: "v1", kind: "Pod" } };
        const answer =
          object["kind"] === "Pod" ? carried : answerAdmission(review(before, request), context);
        if (answer.outcome === "refused") {
          expect(golden).to.include(`refused, ${String(answer.reason)}: ${String(answer.message)}`);
        } else {
          const patch = object["kind"] === "Pod" ? [] : decodePatch(responseOf(answer));
          expect(applyPatch(before, patch)).to.deep.equal(after);
        }
      }
    });
  }
});

function goldenContext(input: string): AdmissionContext {
  const settings = parse(/^# cluster: (.*)$/m.exec(input)?.[1] ?? "{}") as Fields;
  const config = readInjectionConfig({ image: "shimmy:test", ...settings });
  const namespaces = objectsIn(input).filter(({ kind }) => kind === "Namespace");
  return {
    config: { ...config, version: "0.0.0" },
    namespaceOf: (name) =>
      namespaces
        .map((namespace) => objectAt(namespace, "metadata"))
        .filter((metadata) => metadata["name"] === name)
        .map((metadata) => ({
          labels: objectAt(metadata, "labels"),
          annotations: objectAt(metadata, "annotations"),
        }))[0],
    isNamespaceOptedIn: false,
  };
}

function objectsIn(text: string): readonly Fields[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as unknown)
    .filter(isObject)
    .flatMap((object) => (object["kind"] === "List" ? objectsAt(object, "items") : [object]));
}

function podMakers(text: string): readonly Fields[] {
  return objectsIn(text).filter((object) => workloadKind(object) !== undefined);
}

function templateIn(object: Fields = {}): Fields {
  const kind = workloadKind(object);
  return (kind === undefined ? undefined : templateOf(object, kind)) ?? {};
}
