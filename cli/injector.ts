import type { Command } from "commander";

import { INJECTOR_CONFIG, resolveInjectorConfig } from "../injector/env.ts";
import type { Finish } from "./command.ts";
import { addConfigOptions } from "./config-options.ts";
import { daemonExitCode, StopRequest } from "./daemon.ts";
import { OUR_VARIABLES } from "./variables.ts";

const HELP = `
Every option may be given by its environment variable; an unknown SHIMMY_* variable is refused.
It serves the webhooks of Kubernetes and is started by its manifests; \`shimmy inject\` does the same
to objects in files.`;

/** `shimmy injector`. */
export function define(command: Command, finish: Finish): void {
  addConfigOptions(command, INJECTOR_CONFIG);
  command.addHelpText("after", HELP).action(async (flags: Record<string, string>) => {
    finish(await serve(flags));
  });
}

async function serve(flags: Record<string, string>): Promise<number> {
  const config = resolveInjectorConfig({ env: process.env, flags, foreign: OUR_VARIABLES });
  using stop = new StopRequest();
  const [{ runInjector }, { findClusterAccess }, { createLogger }] = await loadInjector();
  const access = await findClusterAccess({ kubeconfig: config.kubeconfig, env: process.env });
  const log = createLogger({ process: "injector", level: config.logLevel });
  const injector = await runInjector({ config, access, log });
  const signal = await stop.received;
  await injector.close();
  return daemonExitCode(signal);
}

// Apart from serve(): tsc does not rewrite the extension of an import() inside a function that it
// transforms for `using`.
function loadInjector(): Promise<
  [
    typeof import("../injector/main.ts"),
    typeof import("../common/kubernetes/access.ts"),
    typeof import("../common/log.ts"),
  ]
> {
  return Promise.all([
    import("../injector/main.ts"),
    import("../common/kubernetes/access.ts"),
    import("../common/log.ts"),
  ]);
}
