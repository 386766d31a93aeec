import { oneOf } from "./env-parsers.ts";
import type { ConfigSchema } from "./env.ts";
import { LOG_LEVELS } from "./log.ts";

/** The setting that every process has, for its schema. */
export const LOG_LEVEL_SETTING = {
  env: "SHIMMY_LOG_LEVEL",
  flag: "log-level",
  parse: oneOf(LOG_LEVELS),
  default: "info",
  doc: "Least important log lines that are written.",
} as const satisfies ConfigSchema[string];
