import type { Command } from "commander";

import { AGENT_CONFIG, resolveAgentConfig } from "../agent/env.ts";
import { DEFAULT_QUOTAS } from "../agent/quotas.ts";
import type { Finish } from "./command.ts";
import { addConfigOptions } from "./config-options.ts";
import { daemonExitCode, StopRequest } from "./daemon.ts";
import { OUR_VARIABLES } from "./variables.ts";

const HELP = `
Every option may be given by its environment variable; an unknown SHIMMY_* variable is refused.

Example:
  $ shimmy agent --catalog catalog.yaml --runtime-dir /tmp/shimmy

The catalog says which pods and services there are: docs/reference/catalog.md.`;

/** `shimmy agent`. */
export function define(command: Command, finish: Finish): void {
  addConfigOptions(command, AGENT_CONFIG);
  command.addHelpText("after", HELP).action(async (flags: Record<string, string>) => {
    finish(await serve(flags));
  });
}

async function serve(flags: Record<string, string>): Promise<number> {
  const config = resolveAgentConfig({ env: process.env, flags, foreign: OUR_VARIABLES });
  using stop = new StopRequest();
  const [{ runAgent }, { createLogger }] = await loadAgent();
  const agent = await runAgent({
    catalogPath: config.catalog,
    runtimeDir: config.runtimeDir,
    admin: config.admin,
    log: createLogger({ process: "agent", level: config.logLevel }),
    quotas: {
      sessionsPerPod: config.maxSessionsPerPod,
      sessionRequests: {
        ...DEFAULT_QUOTAS.sessionRequests,
        perSecond: config.sessionRequestsPerSecond,
      },
    },
  });
  const signal = await stop.received;
  await agent.close();
  return daemonExitCode(signal);
}

// Apart from serve(): tsc does not rewrite the extension of an import() inside a function that it
// transforms for `using`.
function loadAgent(): Promise<
  [typeof import("../agent/main.ts"), typeof import("../common/log.ts")]
> {
  return Promise.all([import("../agent/main.ts"), import("../common/log.ts")]);
}
