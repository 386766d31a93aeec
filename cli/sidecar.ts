import type { Command } from "commander";

import { SIDECAR_CONFIG } from "../sidecar/env.ts";
import type { Finish } from "./command.ts";
import { addConfigOptions } from "./config-options.ts";
import { serveSidecarCommand } from "./sidecar-process.ts";

const HELP = `
Every option may be given by its environment variable; an unknown SHIMMY_* variable is refused.

Example:
  $ shimmy sidecar --pod default/client-1 --agent-dir /tmp/shimmy/pods/default/client-1 \\
                   --upstreams orders:9001`;

/** `shimmy sidecar`; main.ts comes here for its help only. */
export function define(command: Command, finish: Finish): void {
  addConfigOptions(command, SIDECAR_CONFIG);
  command.addHelpText("after", HELP).action(async (flags: Record<string, string>) => {
    finish(await serveSidecarCommand(flags));
  });
}
