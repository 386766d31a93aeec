import type { Command } from "commander";

import { SIDECAR_CONFIG } from "../sidecar/env.ts";
import { addConfigOptions } from "./config-options.ts";

const HELP = `
Every option may be given by its environment variable; an unknown SHIMMY_* variable is refused.

Example:
  $ shimmy sidecar --pod default/client-1 --agent-dir /tmp/shimmy/pods/default/client-1 \\
                   --upstreams orders:9001`;

/** The help of `shimmy sidecar`; main.ts runs it without a parser of command lines. */
export function define(command: Command): void {
  addConfigOptions(command, SIDECAR_CONFIG);
  command.addHelpText("after", HELP).action(() => undefined);
}
