import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { parse } from "yaml";

import { PACKAGE_ROOT } from "../../../common/version.ts";
import { readManifests, type Manifest } from "../../helpers/manifests.ts";

/** A file below manifests/. */
export function readManifestFile(path: string): string {
  return readFileSync(join(PACKAGE_ROOT, "manifests", path), "utf8");
}

/** The objects that a folder's kustomization.yaml names, as they stand in its files. */
export function resourcesOf(folder: string): Manifest[] {
  const { resources = [] } = parse(readManifestFile(`${folder}/kustomization.yaml`)) as {
    resources?: string[];
  };
  return resources.flatMap((path) => readManifests(readManifestFile(`${folder}/${path}`)));
}

/** All files below a folder of manifests/, by their path there. */
export function filesBelow(folder: string): string[] {
  return readdirSync(join(PACKAGE_ROOT, "manifests", folder), {
    recursive: true,
    withFileTypes: true,
  })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).split("/manifests/")[1] ?? "");
}

/** What tests look at in a container. */
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly resources: Readonly<Record<"requests" | "limits", Readonly<Record<string, string>>>>;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
}

interface Probe {
  readonly httpGet: { readonly port: string; readonly path: string; readonly scheme?: string };
}

/** What tests look at in a workload. */
export interface Workload extends Manifest {
  readonly spec: {
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: Readonly<Record<string, unknown>> & {
        readonly containers: readonly Container[];
        readonly serviceAccountName: string;
        readonly automountServiceAccountToken: boolean;
        readonly securityContext: Readonly<Record<string, unknown>>;
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}

/** Deployments and DaemonSets of the base. */
export function workloads(): Workload[] {
  return resourcesOf("base").filter(({ kind }) =>
    /^(?:Deployment|DaemonSet)$/.test(kind),
  ) as Workload[];
}
