import type { Command } from "commander";

import { explainApiError, openCluster } from "./cluster/cluster.ts";
import { NAMES } from "./cluster/kinds.ts";
import { ExitCode, type Finish } from "./command.ts";
import { requireSeconds } from "./run/plan.ts";
import { Uninstaller } from "./uninstall/uninstaller.ts";

const HELP = `
First it opts everything out: it removes the keys of Shimmy from namespaces and workloads, saying which,
and waits until no pod has a sidecar. Then it deletes the webhooks, the admission policies, the parts,
and what is theirs. SharedMemoryObjects and the definitions of Shimmy's kinds stay, unless --crds.

It can be stopped and run again at any point. With a GitOps tool, remove the keys there first; with
Helm, run it with --workloads-only and then \`helm uninstall\`.

Exit codes: 0 done, 1 something is left, 2 wrong usage.

Examples:
  $ shimmy uninstall --dry-run
  $ shimmy uninstall
  $ shimmy uninstall --timeout 1800 --crds`;

interface UninstallFlags {
  readonly dryRun?: true;
  readonly crds?: true;
  readonly workloadsOnly?: true;
  readonly force?: true;
  readonly timeout: string;
  readonly kubeconfig?: string;
  readonly systemNamespace: string;
}

/** `shimmy uninstall`. */
export function define(command: Command, finish: Finish): void {
  command
    .option("--dry-run", "say what would be done, and change nothing")
    .option("--workloads-only", "opt workloads out, and delete nothing")
    .option("--crds", "also delete the kinds, and with them every SharedMemoryObject")
    .option("--force", "delete the parts although pods still have a sidecar")
    .option("--timeout <seconds>", "longest time to wait for rollouts and parts", "600")
    .option("--kubeconfig <file>", "instead of KUBECONFIG or ~/.kube/config")
    .option("--system-namespace <name>", "where Shimmy is installed", NAMES.namespace)
    .addHelpText("after", HELP)
    .action(async (flags: UninstallFlags) => {
      finish(await uninstall(flags));
    });
}

async function uninstall(flags: UninstallFlags): Promise<number> {
  const timeoutMs = requireSeconds("--timeout", flags.timeout) * 1000;
  await using open = await openCluster(flags.kubeconfig);
  const uninstaller = new Uninstaller({
    cluster: open.cluster,
    namespace: flags.systemNamespace,
    dryRun: flags.dryRun === true,
    definitions: flags.crds === true,
    workloadsOnly: flags.workloadsOnly === true,
    force: flags.force === true,
    timeoutMs,
    say: (line) => {
      process.stdout.write(`${line}\n`);
    },
  });
  try {
    await uninstaller.run();
    return ExitCode.ok;
  } catch (err) {
    throw explainApiError(err, open.cluster.server);
  }
}
