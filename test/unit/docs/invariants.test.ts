import { globSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { PACKAGE_ROOT } from "../../../common/version.ts";
import { readSource, section, table } from "./sources.ts";

/** Headers whose numbers are unique over all of them; elsewhere a class numbers its own. */
const HEADERS = "shm-core/{include/shimmy,relay}/*.h";
/** Not the models, nor unit tests of classes: both number what they check themselves. */
const TESTS = ["test/{native,integration}/**/*.{cc,h,ts}", "test/unit/docs/half-layout.test.ts"];

interface Invariant {
  readonly number: string;
  readonly header: string;
}

/** `//   I1  …` in the comment at the top of each header. */
function declaredInvariants(): Invariant[] {
  return files(HEADERS).flatMap((path) => {
    const [top = ""] = readSource(path).split(/^(?!\/\/)/m);
    const header = path.split("/").at(-1) ?? path;
    return [...top.matchAll(/^\/\/ {3}([A-Z]\d+) +\S/gm)].map(([, number = ""]) => ({
      number,
      header,
    }));
  });
}

function files(patterns: string | readonly string[]): string[] {
  return globSync([patterns].flat(), { cwd: PACKAGE_ROOT }).toSorted();
}

/** Whether a text names an invariant, also as the beginning of a test's name: `I5EveryPage`. */
function names(text: string, number: string): boolean {
  return new RegExp(`(?<![A-Za-z0-9])${number}(?!\\d)`).test(text);
}

function byNumber(a: Invariant, b: Invariant): number {
  return a.number.localeCompare(b.number, "en", { numeric: true });
}

describe("invariants", function () {
  const declared = declaredInvariants();
  const tests = files(TESTS).map((path) => readSource(path));

  it("should be declared once each", function () {
    const numbers = declared.map(({ number }) => number);
    expect(numbers).not.to.have.lengthOf(0);
    expect(new Set(numbers).size).to.equal(numbers.length);
  });

  it("should all be listed in docs/architecture.md, with the header that declares them", function () {
    const page = section(readSource("docs/architecture.md"), "Invariants");
    const listed = table(page, "| | | Declared in |").map(([number = "", , header = ""]) => ({
      number,
      header,
    }));
    expect(listed.toSorted(byNumber)).to.deep.equal(declared.toSorted(byNumber));
  });

  it("should all be explained in the text of docs/architecture.md", function () {
    const page = readSource("docs/architecture.md");
    const text = page.replace(section(page, "Invariants"), "");
    const missing = declared.filter(({ number }) => !names(text, number));
    expect(missing).to.deep.equal([]);
  });

  for (const { number, header } of declared) {
    const isNamed = tests.some((text) => names(text, number));
    it(`should be named by a test: ${number} of ${header}`, function () {
      expect(isNamed, `no test names ${number}`).to.equal(true);
    });
  }
});

describe("shm-core/model", function () {
  // docs/architecture.md names broken twins as evidence: they must be among those that are checked.
  it("should have every twin that docs/architecture.md names", function () {
    const rows = table(
      section(readSource("docs/architecture.md"), "Doorbell"),
      "| Simpler rule | What goes wrong | Twin |",
    );
    const named = rows.flatMap((row) => row[2]?.split(", ") ?? []);
    const checked = readSource(join("shm-core/model", "variants.txt"))
      .split("\n")
      .map((line) => line.split(" "))
      .filter(([, expectation]) => expectation === "twin")
      .map((words) => words[3]);
    expect(named).not.to.have.lengthOf(0);
    expect(checked).to.include.members(named);
  });
});
