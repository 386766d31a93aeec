import "../sidecar/small-heap.ts"; // before everything else

import { parseFlags } from "../common/env.ts";
import { createLogger } from "../common/log.ts";
import { resolveSidecarConfig, SIDECAR_CONFIG } from "../sidecar/env.ts";
import { serveSidecar } from "../sidecar/main.ts";
import { OUR_VARIABLES } from "./variables.ts";

/**
 * Runs a sidecar until it is told to stop.
 *
 * @param words - Flags as `--upstreams orders:9001`.
 * @returns The exit code.
 */
export function serveSidecarCommand(words: readonly string[]): Promise<number> {
  const flags = parseFlags(SIDECAR_CONFIG, words);
  const config = resolveSidecarConfig({ env: process.env, flags, foreign: OUR_VARIABLES });
  const log = createLogger({ process: "sidecar", level: config.logLevel });
  return serveSidecar({ config, log });
}
