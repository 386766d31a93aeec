import { SIDECAR_NAME } from "../../injector/containers.ts";
import { WRITTEN } from "../../injector/vocabulary.ts";
import { KINDS, NAMES } from "../cluster/kinds.ts";
import type { CheckContext, PodObject } from "./context.ts";
import { count, fail, ok, someOf, unknown, warn, type Finding } from "./finding.ts";

const VERSION_LABEL = "app.kubernetes.io/version";

/** Whether parts and sidecars are near enough to each other: N and N-1 understand each other. */
export async function checkVersions(context: CheckContext): Promise<Finding[]> {
  const parts = await partVersions(context);
  const sidecars = await sidecarVersions(context);
  const reference = parts.get("injector") ?? context.options.version;
  return [
    partFinding(parts, context.options.version),
    ...(sidecars.size === 0 ? [] : [sidecarFinding(sidecars, reference)]),
  ];
}

/** The versions of the parts, as far as they are known. */
async function partVersions(context: CheckContext): Promise<ReadonlyMap<string, string>> {
  const { cluster, options } = context;
  const versions = new Map<string, string>();
  for (const [part, name, resource] of [
    ["injector", NAMES.injector, KINDS.deployments],
    ["master", NAMES.master, KINDS.deployments],
    ["agents", NAMES.agent, KINDS.daemonSets],
  ] as const) {
    const found = await cluster.get(resource, { namespace: options.namespace, name });
    const version = found?.metadata.labels?.[VERSION_LABEL];
    if (version !== undefined) versions.set(part, version);
  }
  for (const node of (await context.shimmyNodes()).values()) {
    const version = node.status?.agentVersion;
    if (version !== undefined) versions.set(`agent of ${node.metadata.name}`, version);
  }
  return versions;
}

function partFinding(versions: ReadonlyMap<string, string>, own: string): Finding {
  if (versions.size === 0) {
    return unknown(
      `no part says its version (label ${VERSION_LABEL})`,
      "install by the manifests or the chart, which set it",
    );
  }
  const different = new Set([own, ...versions.values()]);
  if (different.size === 1) return ok(`this command and all parts have version ${own}`);
  const list = [`this command ${own}`, ...[...versions].map((entry) => entry.join(" "))];
  const message = `versions differ: ${someOf(list, 8)}`;
  return [...different].every((version) => isNear(version, own))
    ? warn(message, "finish the upgrade (docs/upgrade.md)")
    : fail(`${message}; they are more than one minor version apart`, "upgrade (docs/upgrade.md)");
}

/** Pods with a sidecar, by its version. */
async function sidecarVersions(
  context: CheckContext,
): Promise<ReadonlyMap<string, readonly PodObject[]>> {
  const pods = await context.pods();
  return Map.groupBy(
    pods.filter((pod) => hasSidecar(pod) && isRunning(pod)),
    ({ metadata }) => statusVersion(metadata.annotations?.[WRITTEN.status.key]),
  );
}

function sidecarFinding(
  versions: ReadonlyMap<string, readonly PodObject[]>,
  reference: string,
): Finding {
  const others = [...versions].filter(([version]) => version !== reference);
  const total = [...versions.values()].reduce((sum, pods) => sum + pods.length, 0);
  if (others.length === 0) return ok(`${count(total, "sidecar")} of version ${reference}`);
  const text = others
    .map(([version, pods]) => {
      const names = pods.map(({ metadata }) => `${metadata.namespace ?? ""}/${metadata.name}`);
      return `${version === "" ? "unknown" : version}: ${someOf(names, 3)}`;
    })
    .join("; ");
  const message = `sidecars of other versions than the injector's ${reference}: ${text}`;
  const todo = "kubectl rollout restart their workloads";
  return others.every(([version]) => isNear(version, reference))
    ? warn(message, todo)
    : fail(`${message}; they are more than one minor version apart`, todo);
}

function statusVersion(status = "{}"): string {
  try {
    const { version } = JSON.parse(status) as { version?: unknown };
    return typeof version === "string" ? version : "";
  } catch {
    return "";
  }
}

/** Whether two versions are the same minor one, or neighbours. */
function isNear(version: string, other: string): boolean {
  const [a, b] = [version, other].map((text) => /^v?(\d+)\.(\d+)\./.exec(text));
  if (a?.[1] === undefined || b?.[1] === undefined) return false;
  return a[1] === b[1] && Math.abs(Number(a[2]) - Number(b[2])) <= 1;
}

/** Whether a pod has our container. */
export function hasSidecar({ spec = {} }: PodObject): boolean {
  const { containers = [], initContainers = [] } = spec;
  return [...initContainers, ...containers].some(({ name }) => name === SIDECAR_NAME);
}

/** Whether a pod's containers have not ended for good. */
export function isRunning({ status, metadata }: PodObject): boolean {
  const isFinished = status?.phase === "Succeeded" || status?.phase === "Failed";
  return !isFinished && metadata.deletionTimestamp === undefined;
}
