import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { findPackageRoot, PACKAGE_ROOT, VERSION } from "../../../common/version.ts";

describe("VERSION", function () {
  it("should be the one package.json states", function () {
    const text = readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8");
    expect(VERSION).to.equal((JSON.parse(text) as { version: string }).version);
    expect(VERSION).to.match(/^\d+\.\d+\.\d+/);
  });
});

describe("findPackageRoot()", function () {
  let directory: string;

  beforeEach(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-version-"));
  });

  afterEach(function () {
    rmSync(directory, { recursive: true });
  });

  it("should pass over package.json of others, as from dist/", function () {
    const inner = join(directory, "dist", "common");
    mkdirSync(inner, { recursive: true });
    writeFileSync(join(directory, "dist", "package.json"), '{"type":"module"}');
    writeFileSync(join(directory, "package.json"), '{"name":"shimmy","version":"9.9.9"}');
    expect(findPackageRoot(inner)).to.equal(directory);
  });

  it("should throw SHIMMY_ERR_INTERNAL when there is none", function () {
    expect(() => findPackageRoot(directory))
      .to.throw()
      .with.property("code", "SHIMMY_ERR_INTERNAL");
  });
});
