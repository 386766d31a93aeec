import { expect } from "chai";
import fc from "fast-check";

import { carryKeys, type WriteOperation } from "../../../injector/carry-keys.ts";
import { applyPatch } from "../../../injector/json-patch.ts";
import { objectAt, type Fields } from "../../../injector/raw.ts";
import { metadataEntries } from "../../../injector/read-keys.ts";
import { templateOf, workloadKind } from "../../../injector/workloads.ts";

type Entries = Readonly<Record<string, string>>;

function deployment(annotations: Entries, template: Fields = {}): Fields {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", annotations },
    spec: { template: { metadata: { labels: { app: "web" } }, spec: {}, ...template } },
  };
}

function carry(workload: Fields, operation: WriteOperation = "UPDATE"): Fields {
  return applyPatch(workload, carryKeys(workload, operation));
}

/** The template's annotations. */
function annotationsOf(workload: Fields): Fields {
  const kind = workloadKind(workload);
  const template = kind === undefined ? undefined : templateOf(workload, kind);
  return metadataEntries(template ?? {}, "annotations");
}

/** As `kubectl annotate` would change it. */
function annotate(workload: Fields, annotations: Entries): Fields {
  return { ...workload, metadata: { ...objectAt(workload, "metadata"), annotations } };
}

function withTemplateAnnotation(workload: Fields, key: string, value: string): Fields {
  const path = `/spec/template/metadata/annotations/${key.replace("/", "~1")}`;
  return applyPatch(workload, [{ op: "add", path, value }]);
}

const ON = { "shimmy.io/inject": "enabled" };

describe("carryKeys()", function () {
  it("should copy our keys, record them, and leave other annotations in their place", function () {
    const before = deployment({
      ...ON,
      "config.shimmy.io/log-level": "debug",
      "example.org/x": "y",
    });
    expect(annotationsOf(carry(before))).to.deep.equal({
      "config.shimmy.io/log-level": "debug",
      "shimmy.io/inject": "enabled",
      "shimmy.io/carried": "config.shimmy.io/log-level=0b8e9e99,shimmy.io/inject=fb9cf756",
    });
  });

  it("should undo everything when the keys leave the metadata", function () {
    const carried = carry(deployment(ON));
    expect(annotationsOf(carry(annotate(carried, {})))).to.deep.equal({});
  });

  it("should follow a value that changes", function () {
    const carried = carry(deployment({ "shimmy.io/upstreams": "a:1" }));
    const changed = carry(annotate(carried, { "shimmy.io/upstreams": "a:2" }));
    expect(annotationsOf(changed)["shimmy.io/upstreams"]).to.equal("a:2");
  });

  it("should let the template's own key win, and not touch it later", function () {
    const own = { metadata: { annotations: { "shimmy.io/transport": "tcp" } } };
    const carried = carry(deployment({ "shimmy.io/transport": "auto" }, own));
    expect(annotationsOf(carried)).to.deep.equal({ "shimmy.io/transport": "tcp" });
    expect(annotationsOf(carry(annotate(carried, {})))).to.deep.equal({
      "shimmy.io/transport": "tcp",
    });
  });

  it("should count a carried key that somebody changed as the template's own", function () {
    const carried = carry(deployment({ "shimmy.io/upstreams": "a:1" }));
    const edited = withTemplateAnnotation(carried, "shimmy.io/upstreams", "b:2");
    const again = carry(edited);
    expect(annotationsOf(again)).to.deep.equal({ "shimmy.io/upstreams": "b:2" });
    expect(annotationsOf(carry(annotate(again, {})))).to.deep.equal({
      "shimmy.io/upstreams": "b:2",
    });
  });

  it("should not put an annotation against the template's label", function () {
    const labelled = { metadata: { labels: { "shimmy.io/inject": "enabled" } } };
    const before = deployment({ "shimmy.io/inject": "disabled" }, labelled);
    expect(carryKeys(before, "UPDATE")).to.deep.equal([]);
  });

  it("should not carry what Shimmy writes", function () {
    const before = deployment({ "shimmy.io/status": "{}", "shimmy.io/carried": "x" });
    expect(carryKeys(before, "UPDATE")).to.deep.equal([]);
  });

  it("should carry unknown keys too, so that the pods are refused with them", function () {
    const carried = carry(deployment({ "shimmy.io/injekt": "enabled" }));
    expect(annotationsOf(carried)).to.include({ "shimmy.io/injekt": "enabled" });
  });

  it("should restore what a rollback or an apply dropped", function () {
    const carried = carry(deployment(ON));
    const rolledBack = { ...carried, spec: deployment(ON)["spec"] };
    expect(carry(rolledBack)).to.deep.equal(carried);
  });

  for (const record of ["", "x", "shimmy.io/inject=", "shimmy.io/inject=00000000", "a=b=c", ",,"]) {
    it(`should survive the record ${JSON.stringify(record)} and take nothing that is not ours`, function () {
      const annotations = { "shimmy.io/inject": "disabled", "shimmy.io/carried": record };
      const before = deployment({}, { metadata: { annotations } });
      expect(annotationsOf(carry(before))).to.deep.equal({ "shimmy.io/inject": "disabled" });
    });
  }

  it("should make metadata where the template has none", function () {
    const before = deployment(ON, { metadata: null });
    expect(annotationsOf(carry(before))).to.include(ON);
  });

  const kinds: [apiVersion: string, kind: string, create: boolean, update: boolean][] = [
    ["apps/v1", "StatefulSet", true, true],
    ["apps/v1", "DaemonSet", true, true],
    ["batch/v1", "Job", true, false],
    ["apps/v1", "ReplicaSet", false, false],
    ["v1", "Pod", false, false],
    ["example.org/v1", "Deployment", false, false],
  ];
  for (const [apiVersion, kind, create, update] of kinds) {
    it(`should carry for a ${apiVersion} ${kind} on CREATE: ${create}, on UPDATE: ${update}`, function () {
      const workload = { ...deployment(ON), apiVersion, kind };
      expect(carryKeys(workload, "CREATE").length > 0).to.equal(create);
      expect(carryKeys(workload, "UPDATE").length > 0).to.equal(update);
    });
  }

  it("should carry into the template of a CronJob's Jobs", function () {
    const { metadata, spec } = deployment(ON);
    const cronJob = {
      apiVersion: "batch/v1",
      kind: "CronJob",
      metadata,
      spec: { jobTemplate: { spec } },
    };
    expect(annotationsOf(carry(cronJob))).to.include(ON);
  });

  it("should leave an object alone that is being deleted", function () {
    const before = deployment(ON);
    const metadata = { ...objectAt(before, "metadata"), deletionTimestamp: "2026-01-01T00:00:00Z" };
    expect(carryKeys({ ...before, metadata }, "UPDATE")).to.deep.equal([]);
  });

  const key = fc.constantFrom("shimmy.io/inject", "shimmy.io/upstreams", "config.shimmy.io/image");
  const entries = fc.dictionary(key, fc.constantFrom("a", "b", ""), { maxKeys: 3 });

  it("should come to rest after one pass, whatever happened before", function () {
    fc.assert(
      fc.property(fc.array(entries, { minLength: 1, maxLength: 5 }), entries, (steps, own) => {
        let workload = deployment({}, { metadata: { annotations: own } });
        for (const annotations of steps) {
          workload = carry(annotate(workload, annotations));
          expect(carryKeys(workload, "UPDATE")).to.deep.equal([]);
          expect(annotationsOf(workload)).to.include(own);
        }
        expect(annotationsOf(carry(annotate(workload, {})))).to.deep.equal(own);
      }),
    );
  });
});
