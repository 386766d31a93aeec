import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import { expect } from "chai";

import { nodeComponent } from "../../../../scripts/release/image-sbom.ts";
import { makeSbom, type Component } from "../../../../scripts/release/sbom.ts";

const IMAGE = { name: "shimmy", version: "1.2.3" };
const COMPONENTS: Component[] = [
  {
    type: "library",
    name: "@a/b",
    version: "1.0.0",
    purl: "pkg:npm/%40a/b@1.0.0",
    license: "MIT",
    hash: { alg: "SHA-512", content: "ab".repeat(64) },
    locations: ["/opt/m/@a/b"],
  },
  {
    type: "library",
    name: "@a/b",
    version: "1.0.0",
    purl: "pkg:npm/%40a/b@1.0.0",
    license: "(MIT OR Apache-2.0)",
    locations: ["/opt/m/c/m/@a/b"],
  },
  { type: "library", name: "x", license: "SEE LICENSE IN x", locations: ["/lib/x", "/lib/y"] },
  nodeComponent({ node: "24.1.0", openssl: "3.5.1+quic", modules: "137" }),
];

describe("makeSbom()", function () {
  it("should make what CycloneDX takes", async function () {
    const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot6);
    const sbom = makeSbom(IMAGE, COMPONENTS);
    expect(await validator.validate(JSON.stringify(sbom))).to.equal(null);
    const broken = { ...sbom, components: [{ name: "no type" }] };
    expect(await validator.validate(JSON.stringify(broken))).not.to.equal(null);
  });

  it("should make the same of the same, in whatever order it was found", function () {
    const sbom = makeSbom(IMAGE, COMPONENTS);
    expect(makeSbom(IMAGE, COMPONENTS.toReversed())).to.deep.equal(sbom);
    expect(sbom.serialNumber).to.match(
      /^urn:uuid:[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/,
    );
    const other = makeSbom({ ...IMAGE, version: "1.2.4" }, COMPONENTS);
    expect(other.serialNumber).not.to.equal(sbom.serialNumber);
  });

  it("should say where each component is, and what Node.js was built with", function () {
    const { components } = makeSbom(IMAGE, COMPONENTS);
    const where = components.map(({ evidence }) =>
      evidence?.occurrences.map(({ location }) => location),
    );
    expect(where).to.deep.equal([
      ["/usr/local/bin/node"],
      ["/opt/m/@a/b"],
      ["/opt/m/c/m/@a/b"],
      ["/lib/x", "/lib/y"],
    ]);
    const parts = components[0]?.components?.map(({ purl }) => purl);
    expect(parts).to.deep.equal(["pkg:generic/openssl@3.5.1%2Bquic"]);
  });
});
