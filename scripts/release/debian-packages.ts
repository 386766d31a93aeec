import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, realpathSync } from "node:fs";
import { parseEnv } from "node:util";

import type { Component } from "./sbom.ts";

/** Runs `dpkg-query`. @returns Its output, empty when it knows nothing or is not there. */
export type DpkgQuery = (...args: string[]) => string;

/** The machine's own. */
export const dpkgQuery: DpkgQuery = (...args) => {
  const env = { ...process.env, LC_ALL: "C" };
  const { stdout, error } = spawnSync("dpkg-query", args, { encoding: "utf8", env });
  return error === undefined ? stdout : "";
};

/** Where to look for the machine's system and its files. */
export interface DebianSystem {
  readonly query: DpkgQuery;
  /** Text of /etc/os-release. */
  readonly osRelease: string;
}

/**
 * What system libraries are of: Debian packages, and each file by itself that is of none.
 *
 * @param libraries - Paths that are the same on this machine and in the image.
 */
export function systemComponents(libraries: readonly string[], system: DebianSystem): Component[] {
  const owned = new Map<string, string[]>();
  const others: Component[] = [];
  for (const path of libraries) {
    const owner = ownerOf(path, system.query);
    if (owner === undefined) others.push(fileComponent(path));
    else owned.set(owner, [...(owned.get(owner) ?? []), path]);
  }
  const packages = [...owned].map(([name, locations]) => packageComponent(name, locations, system));
  return [...packages, ...others];
}

/** A package may own a file by any name that it has where /lib is a link to /usr/lib. */
function ownerOf(path: string, query: DpkgQuery): string | undefined {
  const names = [path, realpathSync(path)].flatMap((each) => [each, withoutUsr(each)]);
  const spellings = [...new Set(names.flatMap((each) => [each, `/usr${each}`]))];
  for (const spelling of spellings) {
    const line = query("--search", spelling)
      .split("\n")
      .find((each) => each.endsWith(`: ${spelling}`) && !each.startsWith("diversion "));
    const [owner] = line?.split(", ", 1) ?? [];
    if (owner !== undefined) return owner.replace(/: \/.*$/, "");
  }
  return undefined;
}

function withoutUsr(path: string): string {
  return path.replace(/^\/usr(?=\/)/, "");
}

const FORMAT = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n";

function packageComponent(
  owner: string,
  locations: readonly string[],
  { query, osRelease }: DebianSystem,
): Component {
  const answer = query("--show", `--showformat=${FORMAT}`, owner).trimEnd().split("\t");
  const [name = owner, version = "", arch = "", upstream = ""] = answer;
  const { ID = "debian", VERSION_ID } = parseEnv(osRelease);
  const qualifiers = new URLSearchParams({
    arch,
    ...(VERSION_ID === undefined ? {} : { distro: `${ID}-${VERSION_ID}` }),
    ...(upstream === name ? {} : { upstream }),
  });
  const purl = `pkg:deb/${ID}/${name}@${encodeURIComponent(version)}?${String(qualifiers)}`;
  return { type: "library", name, version, purl, locations };
}

function fileComponent(path: string): Component {
  const content = createHash("sha256").update(readFileSync(path)).digest("hex");
  return { type: "file", name: path, hash: { alg: "SHA-256", content }, locations: [path] };
}
