import { Option, type Command } from "commander";
import { setTimeout as delay } from "node:timers/promises";

import { VERSION } from "../common/version.ts";
import { CheckContext } from "./check/context.ts";
import { runChecks, type CheckPhase } from "./check/checks.ts";
import type { CheckFinding } from "./check/finding.ts";
import { renderFindings } from "./check/render.ts";
import { openCluster, type Cluster } from "./cluster/cluster.ts";
import { NAMES } from "./cluster/kinds.ts";
import { ExitCode, type Finish } from "./command.ts";
import { usesColours } from "./output.ts";
import { requireSeconds } from "./run/plan.ts";

const HELP = `
Each line is ok, warn, FAIL or ?, which is what could not be checked; under all but ok stands what to
do. With --pre it looks whether Shimmy can be installed, without it whether what is installed works.
It changes nothing: the pod that it has injected on trial is created as a dry run.

Exit codes: 0 nothing failed, 1 something did, 2 wrong usage.

Examples:
  $ shimmy check --pre
  $ shimmy check
  $ shimmy check --wait 120
  $ shimmy check --output json | jq '.findings[] | select(.status != "ok")'`;

interface CheckFlags {
  readonly pre?: true;
  readonly wait?: string;
  readonly output: "text" | "json";
  readonly kubeconfig?: string;
  readonly systemNamespace: string;
  readonly trialNamespace?: string;
}

/** `shimmy check`. */
export function define(command: Command, finish: Finish): void {
  command
    .option("--pre", "check what there must be before Shimmy is installed")
    .option("--wait <seconds>", "check again until nothing fails, at most so long")
    .addOption(
      new Option("-o, --output <format>", "how to print it")
        .choices(["text", "json"])
        .default("text"),
    )
    .option("--kubeconfig <file>", "instead of KUBECONFIG or ~/.kube/config")
    .option("--system-namespace <name>", "where Shimmy is installed", NAMES.namespace)
    .option(
      "--trial-namespace <name>",
      "where a pod is created as a dry run; by default the namespace of your context",
    )
    .addHelpText("after", HELP)
    .action(async (flags: CheckFlags) => {
      finish(await check(flags));
    });
}

/** Between two rounds of `--wait`. */
const ROUND_MS = 2000;

async function check(flags: CheckFlags): Promise<number> {
  const waitMs = flags.wait === undefined ? 0 : requireSeconds("--wait", flags.wait) * 1000;
  const phase = flags.pre === true ? "before" : "after";
  await using open = await openCluster(flags.kubeconfig);
  const own = open.namespace === flags.systemNamespace ? "default" : open.namespace;
  const trialNamespace = flags.trialNamespace ?? own;
  const look = (): Promise<CheckFinding[]> =>
    runChecks(contextOf(open.cluster, flags.systemNamespace, trialNamespace), phase);
  const findings = await untilNothingFails(look, waitMs);
  print(findings, { ...flags, phase, server: open.cluster.server });
  return hasFailed(findings) ? ExitCode.failure : ExitCode.ok;
}

function contextOf(cluster: Cluster, namespace: string, trialNamespace: string): CheckContext {
  return new CheckContext(cluster, { namespace, trialNamespace, now: Date.now, version: VERSION });
}

async function untilNothingFails(
  look: () => Promise<CheckFinding[]>,
  waitMs: number,
): Promise<CheckFinding[]> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const findings = await look();
    if (!hasFailed(findings) || performance.now() + ROUND_MS > deadline) return findings;
    await delay(ROUND_MS);
  }
}

function hasFailed(findings: readonly CheckFinding[]): boolean {
  return findings.some(({ status }) => status === "fail");
}

interface PrintOptions extends Pick<CheckFlags, "output"> {
  readonly phase: CheckPhase;
  readonly server: string;
}

function print(findings: readonly CheckFinding[], { output, phase, server }: PrintOptions): void {
  if (output === "json") {
    const report = { version: VERSION, phase, server, ok: !hasFailed(findings), findings };
    process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    return;
  }
  const lines = renderFindings(findings, usesColours(process.stdout));
  process.stdout.write(`${lines.join("\n")}\n`);
}
