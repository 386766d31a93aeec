import type { CheckContext } from "./context.ts";
import { count, fail, ok, someOf, unknown, warn, type Finding } from "./finding.ts";
import { defectsOf, parseKubeVersion } from "./kube-version.ts";

const LEAST_MINOR = 30;
const LEAST_LEGACY_MINOR = 28;
const LEAST_KERNEL = { major: 5, minor: 15 };
const ARCHITECTURES: readonly string[] = ["amd64", "arm64"];

/** Whether the API server has what Shimmy needs. */
export async function checkVersion(context: CheckContext): Promise<Finding[]> {
  const { text, parsed } = await context.version();
  if (parsed === undefined) {
    return [unknown(`the API server says "${text}" of its version`, "compare it with v1.30.0")];
  }
  if (parsed.major === 1 && parsed.minor < LEAST_LEGACY_MINOR) {
    return [fail(`the API server is ${text}`, "upgrade the cluster to Kubernetes 1.30 or later")];
  }
  if (parsed.major === 1 && parsed.minor < LEAST_MINOR) return [await legacyVersion(context, text)];
  return [ok(`the API server is ${text}`)];
}

async function legacyVersion(context: CheckContext, text: string): Promise<Finding> {
  if (await context.isLegacy()) return ok(`the API server is ${text}, and legacy mode is set`);
  return warn(
    `the API server is ${text}: before 1.30 there is legacy mode only`,
    "set native-sidecar: disabled in the ConfigMap shimmy-config, and leave out the admission policies (docs/guides/install.md)",
  );
}

/** Whether nodes can share memory, and pods with sidecars work on their kubelets. */
export async function checkNodes(context: CheckContext): Promise<Finding[]> {
  const nodes = await context.nodes();
  if (nodes.length === 0) {
    return [fail("there is no Linux node", "add one: Shimmy runs on Linux only")];
  }
  const unfit = nodes.filter((node) => !isFit(node.status?.nodeInfo));
  const names = unfit.map(({ metadata }) => metadata.name);
  if (unfit.length === 0) {
    return [ok(`${count(nodes.length, "node")} with Linux 5.15 or later on x86-64 or arm64`)];
  }
  return [
    fail(
      `kernel or processor of ${someOf(names)} is not supported`,
      "keep opted-in pods off these nodes, or give them Linux 5.15 or later on x86-64 or arm64",
    ),
  ];
}

function isFit(
  info: { readonly kernelVersion?: string; readonly architecture?: string } = {},
): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(info.kernelVersion ?? "") ?? [];
  // What a node does not tell is not held against it.
  const isNew =
    major === undefined ||
    Number(major) > LEAST_KERNEL.major ||
    (Number(major) === LEAST_KERNEL.major && Number(minor) >= LEAST_KERNEL.minor);
  return isNew && (info.architecture === undefined || ARCHITECTURES.includes(info.architecture));
}

/** Whether kubelets have known defects with native sidecars. */
export async function checkKubelets(context: CheckContext): Promise<Finding[]> {
  const nodes = await context.nodes();
  if (await context.isLegacy()) {
    return [ok("legacy mode is set, in which kubelets need not know native sidecars")];
  }
  const byVersion = Map.groupBy(nodes, ({ status }) => status?.nodeInfo?.kubeletVersion ?? "");
  const findings = [...byVersion].flatMap(([version, group]) =>
    kubeletFindings(
      version,
      group.map(({ metadata }) => metadata.name),
    ),
  );
  if (findings.length > 0 || nodes.length === 0) return findings;
  return [ok(`kubelets have no known defect (${[...byVersion.keys()].join(", ")})`)];
}

function kubeletFindings(version: string, nodes: readonly string[]): Finding[] {
  const where = `kubelet ${version} of ${someOf(nodes)}`;
  const parsed = parseKubeVersion(version);
  if (parsed === undefined) {
    return [unknown(`${where}: not a version`, "compare it with v1.30.0 by hand")];
  }
  if (parsed.major === 1 && parsed.minor < LEAST_MINOR) {
    const message = `${where} is too old for native sidecars`;
    return [warn(message, "upgrade it, or use legacy mode (docs/guides/install.md)")];
  }
  return defectsOf(parsed).map(({ effect, url }) =>
    warn(`${where}: ${effect}`, `upgrade it to a patch release that has ${url}`),
  );
}
