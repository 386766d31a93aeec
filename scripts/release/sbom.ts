import { createHash } from "node:crypto";

/** A component of a CycloneDX document, as far as we write it. */
export interface Component {
  readonly type: "application" | "library" | "platform" | "file";
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
  /** An SPDX identifier or expression. */
  readonly license?: string;
  /** Hexadecimal. */
  readonly hash?: { readonly alg: "SHA-256" | "SHA-512"; readonly content: string };
  /** Paths in the image: a file, or a directory with all below it. */
  readonly locations: readonly string[];
  /** What it was linked with when it was made. */
  readonly parts?: readonly Component[];
}

/** A CycloneDX document, as far as it is read back. */
export interface Sbom {
  readonly bomFormat: "CycloneDX";
  readonly specVersion: string;
  readonly serialNumber: string;
  readonly components: readonly {
    readonly name: string;
    readonly version?: string;
    readonly purl?: string;
    readonly evidence?: { readonly occurrences: readonly { readonly location: string }[] };
    readonly components?: Sbom["components"];
  }[];
}

/** An SPDX licence of a package, an expression of some, or anything else. */
const SPDX_ID = /^[A-Za-z0-9.+-]+$/;

/**
 * A list of what an image holds, as CycloneDX has it. The same components give the same document:
 * it has no time, and its number is made from what it holds.
 *
 * @see https://cyclonedx.org/docs/1.6/json/
 */
export function makeSbom(image: { name: string; version: string }, found: Component[]): Sbom {
  const components = sorted(found).map(toJson);
  const id = `${image.name}@${image.version}`;
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify([id, components]))}`,
    ...{ version: 1 },
    ...{ metadata: { component: { "bom-ref": `image:${id}`, type: "container", ...image } } },
    components,
  };
}

function sorted(components: readonly Component[]): Component[] {
  const key = ({ purl, name, locations }: Component): string => [purl ?? name, ...locations].join();
  return components.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

function toJson(component: Component): Sbom["components"][number] {
  const { type, name, version, purl, license, hash, locations, parts = [] } = component;
  return {
    // Two copies of one version are two components.
    ...(locations.length === 0 ? {} : { "bom-ref": `${purl ?? name}#${locations.join()}` }),
    ...{ type },
    name,
    ...(version === undefined ? {} : { version }),
    ...(license === undefined ? {} : { licenses: [licenseOf(license)] }),
    ...(hash === undefined ? {} : { hashes: [hash] }),
    ...(purl === undefined ? {} : { purl }),
    ...(locations.length === 0
      ? {}
      : { evidence: { occurrences: locations.map((location) => ({ location })) } }),
    ...(parts.length === 0 ? {} : { components: sorted(parts).map(toJson) }),
  };
}

function licenseOf(license: string): object {
  if (SPDX_ID.test(license)) return { license: { id: license } };
  return / (?:AND|OR|WITH) /.test(license)
    ? { expression: license }
    : { license: { name: license } };
}

/** @see https://www.rfc-editor.org/rfc/rfc9562#section-5.8 */
function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  const variant = ((parseInt(hex.charAt(16), 16) & 3) | 8).toString(16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join("-");
}
