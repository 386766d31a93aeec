import { expect } from "chai";
import {
  lockProblems,
  ownVersions,
  registryLines,
  type LockEntry,
} from "../../../../scripts/checks/repository.ts";

const manifest = { version: "1.2.3", dependencies: { a: "^1.0.0" } };
const root: LockEntry = { version: "1.2.3", dependencies: { a: "^1.0.0" } };
const a: LockEntry = { version: "1.0.1", integrity: "sha512-x" };

describe("lockProblems()", function () {
  it("should find nothing wrong with a lock file that agrees", function () {
    expect(lockProblems(manifest, { "": root, "node_modules/a": a })).to.deep.equal([]);
  });

  const table: { what: string; packages: Record<string, LockEntry>; says: string }[] = [
    {
      what: "another version",
      packages: { "": { ...root, version: "1.2.2" } },
      says: "version is 1.2.2, package.json says 1.2.3",
    },
    {
      what: "another dependency",
      packages: { "": { ...root, dependencies: { a: "^2.0.0" } } },
      says: "dependencies differ from package.json's",
    },
    {
      what: "a download address",
      packages: { "": root, "node_modules/a": { ...a, resolved: "https://example.test/a.tgz" } },
      says: "node_modules/a has an address",
    },
    {
      what: "a missing hash",
      packages: { "": root, "node_modules/a": { version: "1.0.1" } },
      says: "node_modules/a has no integrity hash",
    },
  ];
  for (const { what, packages, says } of table) {
    it(`should report ${what}`, function () {
      expect(lockProblems(manifest, packages)).to.deep.equal([says]);
    });
  }
});

describe("registryLines()", function () {
  it("should report the lines that name a registry's host", function () {
    const host = ["registry", "npmjs", "org"].join(".");
    expect(registryLines(`fine\nhttps://${host}/x\nfine`)).to.deep.equal([2]);
  });
});

describe("ownVersions()", function () {
  it("should accept a CMake project that takes its version from a variable", function () {
    expect(ownVersions("CMakeLists.txt", "project(x VERSION ${v} LANGUAGES CXX)")).to.deep.equal(
      [],
    );
  });

  it("should report a literal version", function () {
    expect(ownVersions("CMakeLists.txt", "project(x VERSION 1.0.0)")).to.deep.equal(["1.0.0"]);
    expect(ownVersions("sdk/pyproject.toml", 'version = "2.0"')).to.deep.equal(["2.0"]);
  });
});
