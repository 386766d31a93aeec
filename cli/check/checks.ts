import { messageOf, ShimmyError } from "../../common/errors.ts";
import { ApiError } from "../../common/kubernetes/api-error.ts";
import { checkAgents, checkFdPassing } from "./agents.ts";
import { checkCertificates } from "./certificates.ts";
import type { CheckContext } from "./context.ts";
import { fail, unknown, type CheckFinding, type Finding } from "./finding.ts";
import {
  checkAbsent,
  checkDefinitions,
  checkParts,
  checkPodSecurity,
  checkPolicies,
} from "./installation.ts";
import { checkKubelets, checkNodes, checkVersion } from "./kubernetes.ts";
import { checkPermissions } from "./permissions.ts";
import { checkVersions } from "./versions.ts";
import { checkWebhook } from "./webhook.ts";
import { checkBudgets, checkSkipped, checkUncarried, checkUninjected } from "./workloads.ts";

/** When checks are made: before Shimmy is installed, or after. */
export type CheckPhase = "before" | "after";

interface Check {
  readonly section: string;
  readonly check: string;
  readonly run: (context: CheckContext) => Promise<readonly Finding[]>;
}

const KUBERNETES: readonly Check[] = [
  { section: "Kubernetes", check: "nodes", run: checkNodes },
  { section: "Kubernetes", check: "kubelets", run: checkKubelets },
];

/** In this order; docs/guides/troubleshoot.md explains them. */
export const CHECKS: Readonly<Record<CheckPhase, readonly Check[]>> = {
  before: [
    ...KUBERNETES,
    { section: "Installation", check: "permissions", run: checkPermissions },
    { section: "Installation", check: "pod-security", run: checkPodSecurity },
    { section: "Installation", check: "absent", run: checkAbsent },
  ],
  after: [
    ...KUBERNETES,
    { section: "Installation", check: "definitions", run: checkDefinitions },
    { section: "Installation", check: "parts", run: checkParts },
    { section: "Installation", check: "policies", run: checkPolicies },
    { section: "Installation", check: "certificates", run: checkCertificates },
    { section: "Injection", check: "webhook", run: checkWebhook },
    { section: "Nodes", check: "agents", run: checkAgents },
    { section: "Nodes", check: "fd-passing", run: checkFdPassing },
    { section: "Versions", check: "versions", run: checkVersions },
    { section: "Workloads", check: "uninjected", run: checkUninjected },
    { section: "Workloads", check: "uncarried", run: checkUncarried },
    { section: "Workloads", check: "budgets", run: checkBudgets },
    { section: "Workloads", check: "skipped", run: checkSkipped },
  ],
};

const VERSION_CHECK: Check = { section: "Kubernetes", check: "version", run: checkVersion };

/** Makes all checks of a phase; only the first when the API server does not answer. */
export async function runChecks(context: CheckContext, phase: CheckPhase): Promise<CheckFinding[]> {
  const first = await findingsOf(VERSION_CHECK, context);
  if (first.some(({ status }) => status === "fail")) return first;
  const rest = await Promise.all(CHECKS[phase].map((check) => findingsOf(check, context)));
  return [...first, ...rest.flat()];
}

async function findingsOf(
  { section, check, run }: Check,
  context: CheckContext,
): Promise<CheckFinding[]> {
  const findings = await run(context).catch((err: unknown) => [explain(err, check, context)]);
  return findings.map((finding) => ({ section, check, ...finding }));
}

function explain(err: unknown, check: string, { cluster }: CheckContext): Finding {
  const said = messageOf(err);
  if (!(err instanceof ApiError)) throw err;
  if (err.cause instanceof ShimmyError) throw err.cause;
  if (err.status === 0) {
    const message = said.replace(/^\S+ \S+: /, "");
    return fail(
      `the API server ${cluster.server} does not answer: ${message}`,
      "check the address and your network; kubectl cluster-info",
    );
  }
  if (err.status === 401) {
    return fail(
      `the API server ${cluster.server} does not accept your credentials`,
      "log in again, or name another kubeconfig with --kubeconfig",
    );
  }
  return unknown(
    `${check} could not be checked: ${said}`,
    err.status === 403 ? "ask somebody with these permissions to run it" : "try again",
  );
}
