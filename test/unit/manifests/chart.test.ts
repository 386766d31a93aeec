import { expect } from "chai";
import { parse } from "yaml";

import { chartFiles } from "../../../scripts/kubernetes/chart.ts";
import { filesBelow, readManifestFile } from "./sources.ts";

/** Written by hand. */
const OWN = ["NOTES.txt", "_helpers.tpl", "checks.yaml", "dashboard.yaml"];

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
}

/** Paths of all values that a schema has, and of those that it does not explain. */
function describedIn({ properties = {} }: Schema, above = ""): [string, string | undefined][] {
  return Object.entries(properties).flatMap(([name, schema]): [string, string | undefined][] => [
    [above + name, schema.description],
    ...describedIn(schema, `${above}${name}.`),
  ]);
}

describe("manifests/chart", function () {
  it("should hold no template of a manifest that is gone", function () {
    const made = [...chartFiles().keys()].map((path) => path.replace(/^manifests\//, ""));
    const own = OWN.map((name) => `chart/templates/${name}`);
    const there = [...filesBelow("chart/templates"), ...filesBelow("chart/files")];
    expect(there).to.have.members([...made, ...own]);
  });

  const schema = JSON.parse(readManifestFile("chart/values.schema.json")) as Schema;

  it("should explain every value", function () {
    const unexplained = describedIn(schema).filter(
      ([, description]) => !/^[A-Z].*\.$/.test(description ?? ""),
    );
    expect(unexplained).to.deep.equal([]);
  });

  it("should show every value in values.yaml", function () {
    const values = parse(readManifestFile("chart/values.yaml")) as Record<string, unknown>;
    const missing = describedIn(schema).filter(([path]) => {
      const at = path
        .split(".")
        .reduce<unknown>(
          (value, name) => (value as Record<string, unknown> | undefined)?.[name],
          values,
        );
      return at === undefined && path !== "global";
    });
    expect(missing).to.deep.equal([]);
  });
});
