import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { ShimmyError } from "./errors.ts";

/** The directory of the package: where package.json lies, above this file in the sources and in dist/. */
export const PACKAGE_ROOT = findPackageRoot(import.meta.dirname);

/** Shimmy's version, the same for every part of it; package.json is the only place that states it. */
export const VERSION = readVersion(PACKAGE_ROOT);

/**
 * Looks for the package's own package.json in `start` and the directories above it.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INTERNAL` when there is none.
 */
export function findPackageRoot(start: string): string {
  for (let directory = start; ; directory = dirname(directory)) {
    const file = join(directory, "package.json");
    if (existsSync(file) && parsePackage(file).name === "shimmy") return directory;
    if (directory === dirname(directory)) {
      throw new ShimmyError("SHIMMY_ERR_INTERNAL", `no package.json of shimmy above ${start}`);
    }
  }
}

function readVersion(root: string): string {
  const { version } = parsePackage(join(root, "package.json"));
  if (version === undefined) {
    throw new ShimmyError("SHIMMY_ERR_INTERNAL", `${root}/package.json states no version`);
  }
  return version;
}

function parsePackage(file: string): { name?: string; version?: string } {
  return JSON.parse(readFileSync(file, "utf8")) as { name?: string; version?: string };
}
