import type { Command } from "commander";

import { MASTER_CONFIG, resolveMasterConfig } from "../master/env.ts";
import { ExitCode, type Finish } from "./command.ts";
import { addConfigOptions } from "./config-options.ts";
import { daemonExitCode, StopRequest } from "./daemon.ts";
import { OUR_VARIABLES } from "./variables.ts";

const HELP = `
Every option may be given by its environment variable; an unknown SHIMMY_* variable is refused.
Any number may run: one leads, the others wait. The process ends when it may not lead any more.

Examples:
  $ shimmy master
  $ shimmy master --kubeconfig ~/.kube/config --lease-namespace shimmy-system

What it does and reports: docs/reference/master.md.`;

/** `shimmy master`. */
export function define(command: Command, finish: Finish): void {
  addConfigOptions(command, MASTER_CONFIG);
  command.addHelpText("after", HELP).action(async (flags: Record<string, string>) => {
    finish(await serve(flags));
  });
}

async function serve(flags: Record<string, string>): Promise<number> {
  const config = resolveMasterConfig({ env: process.env, flags, foreign: OUR_VARIABLES });
  using stop = new StopRequest();
  const [{ runMaster }, { findClusterAccess }, { createLogger }] = await loadMaster();
  const { kubeconfig } = config;
  const access = await findClusterAccess({ kubeconfig, env: process.env });
  const log = createLogger({ process: "master", level: config.logLevel });
  const master = await runMaster({ config, access, log });
  const lost = master.lost.then(() => undefined);
  const signal = await Promise.race([stop.received, lost]);
  await master.close();
  return signal === undefined ? ExitCode.failure : daemonExitCode(signal);
}

// Apart from serve(): tsc does not rewrite the extension of an import() inside a function that it
// transforms for `using`.
function loadMaster(): Promise<
  [
    typeof import("../master/main.ts"),
    typeof import("../common/kubernetes/access.ts"),
    typeof import("../common/log.ts"),
  ]
> {
  return Promise.all([
    import("../master/main.ts"),
    import("../common/kubernetes/access.ts"),
    import("../common/log.ts"),
  ]);
}
