import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { systemComponents } from "../../../../scripts/release/debian-packages.ts";
import { npmComponents } from "../../../../scripts/release/npm-components.ts";

const OS_RELEASE = 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\n';

describe("components of an image", function () {
  let folder: string;

  beforeEach(function () {
    folder = mkdtempSync(join(tmpdir(), "shimmy-components-"));
  });

  afterEach(function () {
    rmSync(folder, { recursive: true });
  });

  function putPackage(path: string, manifest: object): void {
    mkdirSync(join(folder, path), { recursive: true });
    writeFileSync(join(folder, path, "package.json"), JSON.stringify(manifest));
  }

  describe("npmComponents()", function () {
    it("should find what is there, scoped and inside others too", function () {
      putPackage("a", { name: "a", version: "1.0.0", license: "MIT" });
      putPackage("@s/b", { name: "@s/b", version: "2.0.0" });
      putPackage("a/node_modules/c", { name: "c", version: "3.0.0" });
      putPackage("a/node_modules/@s/b", { name: "@s/b", version: "2.1.0" });
      putPackage(".hidden", { name: "hidden", version: "0.0.0" });
      const packages = {
        "node_modules/a": { integrity: "sha512-q80=" },
        "node_modules/a/node_modules/@s/b": { integrity: "sha512-Eg==" },
        "node_modules/gone": { integrity: "sha512-q80=" },
      };
      const found = npmComponents(folder, "/m", { packages });
      expect(
        found.map(({ purl, locations, hash }) => [purl, locations, hash?.content]),
      ).to.have.deep.members([
        ["pkg:npm/a@1.0.0", ["/m/a"], "abcd"],
        ["pkg:npm/%40s/b@2.0.0", ["/m/@s/b"], undefined],
        ["pkg:npm/c@3.0.0", ["/m/a/node_modules/c"], undefined],
        ["pkg:npm/%40s/b@2.1.0", ["/m/a/node_modules/@s/b"], "12"],
      ]);
      expect(found.map(({ license }) => license)).to.include("MIT");
    });
  });

  describe("systemComponents()", function () {
    it("should find the package of a library by any of its names", function () {
      const real = join(folder, "libx.so.1.2");
      const link = join(folder, "libx.so.1");
      writeFileSync(real, "x");
      symlinkSync(real, link);
      const query = (...args: string[]): string => {
        // Of merged directories dpkg knows one name.
        if (args[0] === "--search")
          return args[1] === `/usr${real}` ? `libx1:amd64: ${args[1]}\n` : "";
        return "libx1\t1:1.2-3+deb12u1\tamd64\tx\n";
      };
      expect(systemComponents([link, real], { query, osRelease: OS_RELEASE })).to.deep.equal([
        {
          type: "library",
          name: "libx1",
          version: "1:1.2-3+deb12u1",
          purl: "pkg:deb/debian/libx1@1%3A1.2-3%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=x",
          locations: [link, real],
        },
      ]);
    });

    it("should list a file that is of no package by itself, with its sum", function () {
      const file = join(folder, "liby.so");
      writeFileSync(file, "y");
      const [found] = systemComponents([file], { query: () => "", osRelease: OS_RELEASE });
      expect(found).to.deep.equal({
        type: "file",
        name: file,
        // printf y | sha256sum
        hash: {
          alg: "SHA-256",
          content: "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa",
        },
        locations: [file],
      });
    });
  });
});
