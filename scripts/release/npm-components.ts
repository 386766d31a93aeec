import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Component } from "./sbom.ts";

/** The part of a lock file that is read. */
export interface LockFile {
  readonly packages: Readonly<Record<string, { readonly integrity?: string }>>;
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license?: unknown;
}

/** Where packages are: their files, and their place in the image and in the lock file. */
interface Place {
  readonly folder: string;
  readonly location: string;
  /** As the lock file names it. */
  readonly key: string;
}

/**
 * The npm packages of a `node_modules`, those inside others too: what is there, and not what a lock
 * file says should be.
 */
export function npmComponents(folder: string, location: string, lock: LockFile): Component[] {
  return packagesIn({ folder, location, key: "node_modules" }).flatMap((place) => [
    component(place, lock),
    ...npmComponents(
      join(place.folder, "node_modules"),
      join(place.location, "node_modules"),
      below(lock, place.key),
    ),
  ]);
}

function packagesIn({ folder, location, key }: Place): Place[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => !name.startsWith("."))
    .flatMap((name) => {
      const place = {
        folder: join(folder, name),
        location: join(location, name),
        key: `${key}/${name}`,
      };
      return name.startsWith("@") ? packagesIn(place) : [place];
    });
}

/** The lock file as packages inside another have it. */
function below({ packages }: LockFile, key: string): LockFile {
  const inside = Object.entries(packages).filter(([path]) => path.startsWith(`${key}/`));
  return {
    packages: Object.fromEntries(
      inside.map(([path, entry]) => [path.slice(key.length + 1), entry]),
    ),
  };
}

function component({ folder, location, key }: Place, { packages }: LockFile): Component {
  const text = readFileSync(join(folder, "package.json"), "utf8");
  const { name, version, license } = JSON.parse(text) as Manifest;
  const digest = /^sha512-(?<base64>\S+)$/.exec(packages[key]?.integrity ?? "")?.groups?.["base64"];
  const content = digest === undefined ? "" : Buffer.from(digest, "base64").toString("hex");
  return {
    type: "library",
    name,
    version,
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
    ...(typeof license === "string" ? { license } : {}),
    ...(digest === undefined ? {} : { hash: { alg: "SHA-512", content } }),
    locations: [location],
  };
}
