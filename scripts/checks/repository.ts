// Checks what no other tool does: no file names a package registry's host, the lock file holds no
// download addresses and agrees with package.json, and the version stands in one place.
import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";

const REGISTRY_HOSTS =
  /registry\.(?:npmjs|yarnpkg)\.[a-z]+|pypi\.org|pythonhosted\.org|(?:static\.|index\.)?crates\.io|proxy\.golang\.org|repo1?\.maven\.[a-z]+|(?:deb|security|archive|ports)\.(?:debian|ubuntu)\.(?:org|com)/i;

type Dependencies = Readonly<Record<string, string>>;

/** The parts of package.json that the lock file repeats. */
export interface PackageManifest {
  readonly version: string;
  readonly dependencies?: Dependencies;
  readonly devDependencies?: Dependencies;
  readonly optionalDependencies?: Dependencies;
}

/** An entry of the lock file's `packages`. */
export interface LockEntry extends PackageManifest {
  readonly resolved?: string;
  readonly integrity?: string;
}

/** What is wrong with a lock file, one line each. */
export function lockProblems(
  manifest: PackageManifest,
  packages: Readonly<Record<string, LockEntry>>,
): string[] {
  const problems: string[] = [];
  const root = packages[""];
  if (root?.version !== manifest.version) {
    problems.push(`version is ${String(root?.version)}, package.json says ${manifest.version}`);
  }
  for (const key of ["dependencies", "devDependencies", "optionalDependencies"] as const) {
    if (JSON.stringify(sorted(root?.[key])) !== JSON.stringify(sorted(manifest[key]))) {
      problems.push(`${key} differ from package.json's`);
    }
  }
  const installed = Object.entries(packages).filter(([path]) => path !== "");
  return [...problems, ...installed.flatMap(([path, entry]) => entryProblems(path, entry))];
}

function entryProblems(path: string, { resolved, integrity }: LockEntry): string[] {
  const problems: string[] = [];
  if (resolved?.startsWith("http") === true) problems.push(`${path} has an address`);
  if (integrity === undefined) problems.push(`${path} has no integrity hash`);
  return problems;
}

function sorted(dependencies: Dependencies = {}): [string, string][] {
  return Object.entries(dependencies).sort(([a], [b]) => a.localeCompare(b));
}

/** The lines, counted from 1, on which a text names a package registry's host. */
export function registryLines(text: string): number[] {
  return text.split("\n").flatMap((line, index) => (REGISTRY_HOSTS.test(line) ? [index + 1] : []));
}

/** The versions a build file states itself instead of taking package.json's. */
export function ownVersions(file: string, text: string): string[] {
  if (file.endsWith("CMakeLists.txt")) {
    return [...text.matchAll(/project\([^)]*VERSION\s+(\d[\w.]*)/g)].map(
      ([, version = ""]) => version,
    );
  }
  if (file.endsWith("pyproject.toml")) {
    return [...text.matchAll(/^version\s*=\s*"([^"]+)"/gm)].map(([, version = ""]) => version);
  }
  return [];
}

function repositoryFiles(): string[] {
  const options = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  return execFileSync("git", options, { encoding: "utf8", maxBuffer: 1 << 26 })
    .split("\0")
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile() === true);
}

function main(): void {
  const manifest = JSON.parse(readFileSync("package.json", "utf8")) as PackageManifest;
  const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
    packages: Record<string, LockEntry>;
  };
  const files = repositoryFiles();
  const problems = lockProblems(manifest, lock.packages).map(
    (text) => `package-lock.json: ${text}`,
  );
  for (const file of files) {
    const text = readFileSync(file, "utf8");
    for (const line of registryLines(text))
      problems.push(`${file}:${line}: names a registry's host`);
    for (const version of ownVersions(file, text)) {
      if (version !== manifest.version) problems.push(`${file}: version ${version}`);
    }
  }
  for (const problem of problems) console.log(problem);
  console.log(`${files.length} files, ${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

if (import.meta.main) main();
