import { expect } from "chai";

import {
  constant,
  documentedFields,
  readSource,
  section,
  structFields,
  structSize,
  table,
} from "./sources.ts";

describe("docs/reference/half-layout.md", function () {
  const page = readSource("docs/reference/half-layout.md");
  const header = readSource("shm-core/include/shimmy/layout.h");

  for (const { heading, struct } of [
    { heading: "Header", struct: "HalfHeader" },
    { heading: "REPLACE", struct: "ReplaceRecord" },
  ]) {
    it(`should lay ${struct} out as layout.h does`, function () {
      expect(documentedFields(section(page, heading))).to.deep.equal(structFields(header, struct));
    });
  }

  it("should have every word of the control page at its offset", function () {
    const asserted = [
      ...header.matchAll(/static_assert\(offsetof\(ControlPage, (\w+)\) == (\d+)\)/g),
    ].map(([, name = "", offset]) => [offset, name]);
    const documented = table(section(page, "Words"), "| Offset | Word | Meaning |").map(
      ([offset, name]) => [offset, name],
    );
    expect(asserted).not.to.have.lengthOf(0);
    expect(documented).to.deep.equal(asserted);
  });

  it("should have an assertion in layout.h for every word", function () {
    const body = /^struct ControlPage \{(.*?)^\};/ms.exec(header)?.[1] ?? "";
    const words = [...body.matchAll(/\bWord (\w+);/g)].map(([, name]) => name);
    expect(
      table(section(page, "Words"), "| Offset | Word | Meaning |").map((row) => row[1]),
    ).to.deep.equal(words);
  });

  it("should keep words that the other side polls apart by two cache lines (I3)", function () {
    const rows = table(section(page, "Words"), "| Offset | Word | Meaning |");
    const offsetOf = (word: string): number => Number(rows.find(([, name]) => name === word)?.[0]);
    const starts = [0, ...["tail", "head", "wake_at", "fin"].map(offsetOf)];
    const gaps = starts.slice(1).map((start, index) => start - (starts[index] ?? start));
    const spacing = constant(header, "kWordSpacing");
    expect(gaps).to.deep.equal(gaps.map(() => spacing));
  });

  it("should give the records of the doorbell their lengths", function () {
    const rows = table(
      section(page, "Records in the doorbell"),
      "| Record | Bytes | Descriptors |",
    );
    expect(rows).to.deep.equal([
      ["bell", String(constant(header, "kBellBytes")), "0"],
      ["plug", String(constant(header, "kPlugBytes")), "0"],
      ["REPLACE", String(structSize(header, "ReplaceRecord")), "1"],
    ]);
  });

  it("should state versions and bounds", function () {
    expect(page).to.include(`Version ${constant(header, "kHalfVersion")}.`);
    expect(section(page, "REPLACE")).to.include(
      `| \`version\` | ${constant(header, "kReplaceVersion")} |`,
    );
    expect(page).to.include(`at least ${constant(header, "kMinCapacity")} and`);
    expect(page).to.include(`first ring has ${constant(header, "kFirstCapacity")} bytes`);
    expect(header).to.include("kMaxCapacity = uint64_t{1} << 30");
    expect(page).to.include("at most 2^30");
  });

  it("should spell the magic as it lies in memory", function () {
    const [, digits = "0"] = /kHalfMagic = 0x([0-9a-f]{16})/.exec(header) ?? [];
    expect(Buffer.from(digits, "hex").reverse().toString()).to.equal("SMYHALF1");
    expect(page).to.include("| `magic` | `SMYHALF1` |");
  });
});
