import { expect } from "chai";

import { constants, declarations, structs } from "../../helpers/c-header.ts";
import { readSource, section, table } from "./sources.ts";

describe("docs/reference/sdk-c.md", function () {
  const page = readSource("docs/reference/sdk-c.md");
  const header = readSource("sdk/c/include/shimmy.h");

  it("should have every function as the header declares it, with words of its own", function () {
    const documented = [...page.matchAll(/^### (\w+)\n\n```c\n(.*)\n```\n\n(.+)$/gm)].map(
      ([, name = "", text = ""]) => ({ name, text }),
    );
    expect(documented).to.have.lengthOf.at.least(22);
    expect(documented).to.have.deep.members(declarations(header));
  });

  it("should have every status with its value", function () {
    const rows = table(section(page, "Statuses"), "| Status | Value | Meaning |");
    const statuses = /enum shimmy_status \{([\s\S]*?)\};/.exec(header)?.[1] ?? "";
    const values = [...statuses.matchAll(/(SHIMMY_\w+)\s*=\s*(-?\d+)/g)].map(([, name, value]) => [
      name,
      value,
    ]);
    expect(rows.map(([name, value]) => [name, value])).to.deep.equal(values);
  });

  it("should have its functions in the symbol map", function () {
    const map = readSource("sdk/c/shimmy.map").replaceAll(/^#.*$/gm, "");
    const shown = [...map.matchAll(/\b(shimmy_\w+);/g)].map(([, name]) => name);
    expect(shown).to.have.members(declarations(header).map(({ name }) => name));
  });

  it("should have every constant and struct on record", function () {
    const recorded = readSource("sdk/c/abi.txt").split("\n");
    const names = new Set(recorded.map((line) => line.replace(/(?: \d+| -\d+)+$/, "")));
    expect(names).to.include.all.keys(
      ...constants(header),
      ...structs(header).map(({ name }) => `struct ${name}`),
    );
  });
});
