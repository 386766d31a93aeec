import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

import { parseAllDocuments } from "yaml";

import { PACKAGE_ROOT } from "../../common/version.ts";
import { mustRun, runProgram, type ProgramResult } from "./run-program.ts";

const BIN = join(PACKAGE_ROOT, ".cache/kubectl/bin");
/** An image that may be set, with a port in the name of its registry. */
export const TEST_IMAGE = "registry.example:5000/team/shimmy:9.9.9";

/** An object of a manifest. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** Brings kubectl and helm into the cache, for a hook before tests. Takes seconds once. */
export async function installKubectl(this: Mocha.Context): Promise<void> {
  this.timeout(120_000);
  await promisify(execFile)("bash", [join(PACKAGE_ROOT, "scripts/kubectl.sh")]);
}

/** Objects of a text of YAML documents, empty ones left out. */
export function readManifests(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document) => {
      const [problem] = document.errors;
      if (problem !== undefined) throw problem;
      return document.toJS() as Manifest | null;
    })
    .filter((object) => object !== null);
}

/** What Kustomize makes of a folder, by its path in the repository or from the root. */
export async function kustomize(folder: string): Promise<Manifest[]> {
  const path = join(folder.startsWith("/") ? "" : PACKAGE_ROOT, folder);
  return readManifests((await mustRun([join(BIN, "kubectl"), "kustomize", path])).stdout);
}

/** Runs `helm template` of the chart. */
export async function runHelm(...args: string[]): Promise<ProgramResult> {
  const chart = join(PACKAGE_ROOT, "manifests/chart");
  const release = ["--namespace", "shimmy-system"];
  return await runProgram([join(BIN, "helm"), "template", "shimmy", chart, ...release, ...args]);
}

/**
 * What Helm makes of the chart with a good image.
 *
 * @param args - Further arguments, as `--set` and a value.
 */
export async function helmTemplate(...args: string[]): Promise<Manifest[]> {
  const { code, stdout, stderr } = await runHelm("--set", `image=${TEST_IMAGE}`, ...args);
  if (code !== 0) throw new Error(stderr);
  return readManifests(stdout);
}

/** Kind and name, as `Deployment/shimmy-master`. */
export function idOf({ kind, metadata: { name } }: Manifest): string {
  return `${kind}/${name}`;
}
