// Lists what an image holds: node scripts/release/image-sbom.ts ROOT
// ROOT is the root directory that image/stage.sh fills, which runs this at its end. The list goes
// into it, and is the same for the same files.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { PACKAGE_ROOT, VERSION } from "../../common/version.ts";
import { dpkgQuery, systemComponents } from "./debian-packages.ts";
import { npmComponents, type LockFile } from "./npm-components.ts";
import { makeSbom, type Component } from "./sbom.ts";

/** Where the list is, in the image. */
const SBOM_PATH = "/usr/share/doc/shimmy/sbom.json";
const NODE = "/usr/local/bin/node";
const MODULES = "/opt/shimmy/node_modules";
/** Shimmy's own, and what stage.sh writes for it. */
const OWN = ["/opt/shimmy", "/usr/local/bin/shimmy-netns-helper", "/etc"];
/** What `process.versions` has besides libraries. */
const NO_LIBRARIES = new Set(["node", "modules", "napi", "cldr", "tz", "unicode"]);

/** Node.js, and what it was built with: most of its advisories are about these. */
export function nodeComponent(versions: Readonly<Record<string, string>>): Component {
  const { node: version = "" } = versions;
  const parts = Object.entries(versions).filter(([name]) => !NO_LIBRARIES.has(name));
  return {
    type: "platform",
    name: "node",
    version,
    purl: `pkg:generic/node@${version}`,
    license: "MIT",
    locations: [NODE],
    parts: parts.map(([name, each]) => {
      const purl = `pkg:generic/${name}@${encodeURIComponent(each)}`;
      return { type: "library", name, version: each, purl, locations: [] };
    }),
  };
}

function main(root: string): void {
  const read = (path: string): string => readFileSync(join(PACKAGE_ROOT, path), "utf8");
  const print = ["--print", "JSON.stringify(process.versions)"];
  const versions = execFileSync(join(root, NODE), print, { encoding: "utf8" });
  const libraries = readdirSync(root)
    .filter((name) => /^lib\d*$|^usr$/.test(name))
    .flatMap((name) => filesBelow(root, `/${name}`))
    .filter((path) => !/^\/usr\/(?:local|share)\//.test(path));
  const sbom = makeSbom({ name: "shimmy", version: VERSION }, [
    {
      type: "application",
      name: "shimmy",
      version: VERSION,
      purl: `pkg:npm/shimmy@${VERSION}`,
      license: "Apache-2.0",
      locations: OWN,
    },
    nodeComponent(JSON.parse(versions) as Record<string, string>),
    ...npmComponents(
      join(root, MODULES),
      MODULES,
      JSON.parse(read("package-lock.json")) as LockFile,
    ),
    ...systemComponents(libraries, {
      query: dpkgQuery,
      osRelease: readFileSync("/etc/os-release", "utf8"),
    }),
  ]);
  const file = join(root, SBOM_PATH);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(sbom, null, 1)}\n`);
}

function filesBelow(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(root, path) : [path];
  });
}

if (import.meta.main) main(process.argv[2] ?? "/");
