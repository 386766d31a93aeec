import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";
import { parseAllDocuments } from "yaml";

import { INSTALLED_KINDS } from "../../../../cli/check/permissions.ts";
import { DEFINITION_STEP, DELETE_STEPS } from "../../../../cli/uninstall/parts.ts";
import { PACKAGE_ROOT } from "../../../../common/version.ts";

/** Kinds of the objects in manifests that match. */
function kindsIn(pattern: string): Set<string> {
  const files = globSync(pattern, { cwd: PACKAGE_ROOT });
  const documents = files.flatMap((file) =>
    parseAllDocuments(readFileSync(join(PACKAGE_ROOT, file), "utf8")).map(
      (document) => document.toJS() as { kind?: string; apiVersion?: string } | null,
    ),
  );
  const kinds = documents
    .filter((document) => document?.apiVersion?.includes("kustomize") === false)
    .flatMap((document) => document?.kind ?? []);
  return new Set(kinds);
}

describe("what is installed", function () {
  const installed = kindsIn("manifests/base/**/*.yaml");

  it("should have permissions checked for every kind", function () {
    expect(installed.size).to.be.greaterThan(10);
    expect(INSTALLED_KINDS.map(({ kind }) => kind)).to.include.members([...installed]);
  });

  it("should be uninstalled, every kind of it, what components add included", function () {
    const kinds = [...DELETE_STEPS, DEFINITION_STEP].flatMap((step) =>
      step.kinds.map(({ resource }) => resource.kind),
    );
    // The namespace is deleted last, and by itself.
    const added = [...installed, ...kindsIn("manifests/components/*/*.yaml")];
    expect([...kinds, "Namespace"]).to.include.members([...new Set(added)]);
  });
});
