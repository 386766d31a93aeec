import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import type { StructuralSchema } from "../../../../common/kubernetes/structural-schema.ts";
import { PACKAGE_ROOT } from "../../../../common/version.ts";
import { crdFiles } from "../../../../scripts/kubernetes/crd.ts";
import { generatedFiles, withFields } from "../../../../scripts/kubernetes/write.ts";

/** A schema and everything below it, with its place. */
function everyPart(schema: StructuralSchema, path: string): [string, StructuralSchema][] {
  const below: [string, StructuralSchema | undefined][] = [
    ...Object.entries(schema.properties ?? {}),
    ["[]", schema.items],
    ["{}", schema.additionalProperties],
  ];
  return [
    [path, schema],
    ...below.flatMap(([name, part]) =>
      part === undefined ? [] : everyPart(part, `${path}.${name}`),
    ),
  ];
}

describe("generatedFiles()", function () {
  for (const [path, text] of generatedFiles()) {
    it(`should be what ${path} holds (scripts/kubernetes/write.ts writes it)`, function () {
      expect(readFileSync(join(PACKAGE_ROOT, path), "utf8")).to.equal(text);
    });
  }
});

describe("withFields()", function () {
  it("should replace the fields and keep what is before them", function () {
    expect(withFields("# A\n\nB\n\n## spec\n\nold\n", "## spec\n\nnew")).to.equal(
      "# A\n\nB\n\n## spec\n\nnew\n",
    );
  });
});

describe("schemas of our kinds", function () {
  for (const { path, schema } of crdFiles()) {
    const parts = everyPart(schema, "");

    it(`should explain every field: ${path}`, function () {
      expect(
        parts.filter(([, { description }]) => !/^[A-Z].*\.$/s.test(description)),
      ).to.deep.equal([]);
    });

    // The API server refuses rules whose cost it cannot bound.
    it(`should bound every list, map and text: ${path}`, function () {
      const unbounded = parts.filter(([, part]) => {
        if (part.type === "array") return part.maxItems === undefined;
        if (part.additionalProperties !== undefined) return part.maxProperties === undefined;
        const isFree = part.enum === undefined && part.format === undefined;
        return part.type === "string" && isFree && part.maxLength === undefined;
      });
      expect(unbounded.map(([place]) => place)).to.deep.equal([]);
    });

    it(`should keep the conditions a map by type, and write status apart: ${path}`, function () {
      const conditions = schema.properties?.["status"]?.properties?.["conditions"];
      expect(conditions?.["x-kubernetes-list-map-keys"]).to.deep.equal(["type"]);
    });
  }
});
