import { expect } from "chai";

import { demandClean, readOptions } from "../../../../scripts/release/options.ts";
import { packageFiles, packageManifest } from "../../../../scripts/release/package-manifest.ts";
import { readSource } from "../../docs/sources.ts";

describe("readOptions()", function () {
  it("should make everything for all machines when nothing is asked for", function () {
    const { machines, ...others } = readOptions([]);
    expect(others).to.deep.equal({
      isDirtyAllowed: false,
      parts: ["package", "image", "chart"],
      folder: "release",
    });
    const [, list] = /names=\((linux-.*)\)/.exec(readSource("scripts/prebuild.sh")) ?? [];
    expect(machines).to.deep.equal(list?.split(" "));
  });

  it("should take parts in the order in which they are made", function () {
    const { parts } = readOptions(["--part", "chart", "--part", "package"]);
    expect(parts).to.deep.equal(["package", "chart"]);
  });

  for (const args of [["--part", "cart"], ["--machine", "linux-mips"], ["--frob"], ["word"]]) {
    it(`should refuse ${args.join(" ")}`, function () {
      expect(() => readOptions(args)).to.throw(args.at(-1) ?? "");
    });
  }
});

describe("demandClean()", function () {
  it("should take a tree without changes", function () {
    demandClean("");
  });

  it("should name the first files that differ", function () {
    const status = ["a", "b", "c", "d", "e", "f", "g"].map((name) => ` M ${name}\n`).join("");
    expect(() => {
      demandClean(status);
    }).to.throw("files differ from the commit: a, b, c, d, e and 2 more; commit them");
  });
});

describe("the npm package", function () {
  const manifest = JSON.parse(readSource("package.json")) as Parameters<typeof packageManifest>[0];
  const packed = packageManifest(manifest) as Readonly<Record<string, unknown>>;

  it("should need what the code imports, and nothing that runs when it is installed", function () {
    expect(packed["dependencies"]).to.deep.equal(manifest.dependencies);
    expect(packed).to.include({ name: "shimmy", version: manifest.version });
    expect(packed["exports"]).to.deep.equal(manifest.exports);
    expect(packed).not.to.have.any.keys(
      ...["scripts", "devDependencies", "optionalDependencies", "private"],
    );
  });

  it("should hold the command, and native code where it is looked for", function () {
    const targets = packageFiles(["linux-x64", "linux-arm64-musl"]).map(([, to]) => to);
    expect(targets).to.include.members([
      manifest.bin["shimmy"]?.replace("./", ""),
      "prebuilds/linux-x64/shimmy.node",
      "prebuilds/linux-arm64-musl/shimmy-netns-helper",
    ]);
  });
});
