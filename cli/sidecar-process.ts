import { parseFlags } from "../common/env.ts";
import { createLogger } from "../common/log.ts";
import { resolveSidecarConfig, SIDECAR_CONFIG } from "../sidecar/env.ts";
import { serveSidecar } from "../sidecar/main.ts";
import { OUR_VARIABLES } from "./variables.ts";

/** Reads the flags of `shimmy sidecar` without the help of a library, which would cost memory. */
export function parseSidecarFlags(words: readonly string[]): Record<string, string> {
  return parseFlags(SIDECAR_CONFIG, words);
}

/**
 * Runs a sidecar until it is told to stop.
 *
 * @param flags - By their names in the schema.
 * @returns The exit code.
 */
export function serveSidecarCommand(flags: Record<string, string>): Promise<number> {
  const config = resolveSidecarConfig({ env: process.env, flags, foreign: OUR_VARIABLES });
  const log = createLogger({ process: "sidecar", level: config.logLevel });
  return serveSidecar({ config, log });
}
