// Makes what a release consists of: npm run release -- [--allow-dirty] [--part PART…] [--machine NAME…]
// The same commit gives the same files on the same system: times are those of the commit, or of
// SOURCE_DATE_EPOCH.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

import { PACKAGE_ROOT, VERSION } from "../../common/version.ts";
import { demandClean, readOptions, type ReleaseOptions, type ReleasePart } from "./options.ts";
import { packageFiles, packageManifest, type PackageManifest } from "./package-manifest.ts";

/** Where a part is made, and from what. */
interface Making {
  /** Where finished files go. */
  readonly folder: string;
  /** Gone afterwards. */
  readonly work: string;
  readonly machines: readonly string[];
}

const SUMS = "SHA256SUMS";

const MAKERS: Readonly<Record<ReleasePart, (making: Making) => void>> = {
  package: makePackage,
  image: makeImage,
  chart: makeChart,
};

function makePackage({ folder, work, machines }: Making): void {
  run("bash", "scripts/build-dist.sh");
  const others = machines.filter((name) => name !== "host");
  if (others.length > 0) run("bash", "scripts/prebuild.sh", ...others);
  if (others.length < machines.length) {
    run("bash", "scripts/build-native.sh", "release", "shimmy_addon", "shimmy_netns_helper");
  }
  const staged = join(work, "package");
  for (const [from, to] of packageFiles(machines)) {
    const target = join(staged, to);
    mkdirSync(dirname(target), { recursive: true });
    cpSync(join(PACKAGE_ROOT, from), target, { recursive: true });
  }
  rmSync(join(staged, "dist/.sources"), { force: true });
  const manifest = readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8");
  const edited = packageManifest(JSON.parse(manifest) as PackageManifest);
  writeFileSync(join(staged, "package.json"), `${JSON.stringify(edited, null, 2)}\n`);
  run("npm", "pack", staged, "--silent", "--ignore-scripts", "--pack-destination", folder);
}

function makeImage({ folder, work }: Making): void {
  const archive = join(folder, `shimmy-${VERSION}-image-${process.arch}.tar`);
  const root = join(work, "root");
  run("bash", "image/build.sh", archive, `shimmy:${VERSION}`, root);
  const sbom = join(root, "usr/share/doc/shimmy/sbom.json");
  cpSync(sbom, join(folder, `shimmy-${VERSION}-image-${process.arch}.cdx.json`));
}

/** As `helm package` does, which writes the time of day into it. */
function makeChart({ folder, work }: Making): void {
  cpSync(join(PACKAGE_ROOT, "manifests/chart"), join(work, "shimmy"), { recursive: true });
  const archive = join(work, "chart.tar");
  const same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
  const time = `--mtime=@${process.env["SOURCE_DATE_EPOCH"] ?? "0"}`;
  run("tar", ...same, time, "--format=ustar", "-C", work, "-cf", archive, "shimmy");
  run("gzip", "--no-name", "--best", archive);
  // Not npm's name: both are archives of shimmy of this version.
  cpSync(`${archive}.gz`, join(folder, `shimmy-chart-${VERSION}.tgz`));
}

function run(program: string, ...args: string[]): void {
  const { status, error } = spawnSync(program, args, {
    cwd: PACKAGE_ROOT,
    // Listing what went into a tarball is not for those who wait.
    stdio: ["ignore", program === "npm" ? "ignore" : "inherit", "inherit"],
  });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} failed`, { cause: error });
}

function git(...args: string[]): string {
  return execFileSync("git", args, { cwd: PACKAGE_ROOT, encoding: "utf8" });
}

/** Makes room for a release; only the one before is removed. */
function emptyFolder(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const files = readdirSync(folder);
  if (files.length > 0 && !files.includes(SUMS)) {
    throw new Error(`${folder} holds other things than a release`);
  }
  for (const name of files) rmSync(join(folder, name));
}

function writeSums(folder: string): void {
  const lines = readdirSync(folder)
    .toSorted()
    .map((name) => {
      const sum = createHash("sha256").update(readFileSync(join(folder, name)));
      return `${sum.digest("hex")}  ${name}\n`;
    });
  writeFileSync(join(folder, SUMS), lines.join(""));
  process.stdout.write(lines.join(""));
}

function release({ isDirtyAllowed, parts, machines, folder: where }: ReleaseOptions): void {
  if (!isDirtyAllowed) demandClean(git("status", "--porcelain"));
  process.env["SOURCE_DATE_EPOCH"] ??= git("log", "-1", "--format=%ct").trim();
  const folder = resolve(PACKAGE_ROOT, where);
  emptyFolder(folder);
  const work = mkdtempSync(join(tmpdir(), "shimmy-release-"));
  try {
    for (const part of parts) MAKERS[part]({ folder, work, machines });
  } finally {
    rmSync(work, { recursive: true });
  }
  writeSums(folder);
}

if (import.meta.main) {
  try {
    release(readOptions(process.argv.slice(2)));
  } catch (err) {
    process.stderr.write(`release: ${err instanceof Error ? err.message : String(err)}\n`);
    process.exitCode = 1;
  }
}
