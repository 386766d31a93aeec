import { LOG_LEVEL_SETTING } from "../common/log-setting.ts";
import { boolean, integer, text } from "../common/env-parsers.ts";
import {
  resolveConfig,
  type Config,
  type ConfigSchema,
  type ConfigSources,
} from "../common/env.ts";
import { DEFAULT_QUOTAS } from "./quotas.ts";

/** The agent's settings. docs/reference/config.md shows them; a test keeps it so. */
export const AGENT_CONFIG = {
  catalog: {
    env: "SHIMMY_CATALOG",
    flag: "catalog",
    parse: text,
    required: true,
    doc: "The catalog file, see catalog.md; read again when it changes.",
  },
  runtimeDir: {
    env: "SHIMMY_RUNTIME_DIR",
    flag: "runtime-dir",
    parse: text,
    default: "/run/shimmy",
    doc: "Directory for the sockets; at most some 60 bytes long, because socket paths are short.",
  },
  admin: {
    env: "SHIMMY_ADMIN_SOCKET",
    flag: "admin-socket",
    parse: boolean,
    default: "true",
    doc: "Whether agent.sock, which shows all pods of the node, is served.",
  },
  logLevel: LOG_LEVEL_SETTING,
  maxSessionsPerPod: {
    env: "SHIMMY_MAX_SESSIONS_PER_POD",
    flag: "max-sessions-per-pod",
    parse: integer({ min: 1, max: 1024 }),
    default: String(DEFAULT_QUOTAS.sessionsPerPod),
    doc: "Sessions a pod takes part in; connections beyond them go over TCP with reason quota.",
  },
  sessionRequestsPerSecond: {
    env: "SHIMMY_SESSION_REQUESTS_PER_SECOND",
    flag: "session-requests-per-second",
    parse: integer({ min: 1, max: 10_000 }),
    default: String(DEFAULT_QUOTAS.sessionRequests.perSecond),
    doc: "Sessions a pod may ask for per second, after a burst of 2,048.",
  },
} as const satisfies ConfigSchema;

/** What {@link resolveAgentConfig} gives. */
export type AgentConfig = Config<typeof AGENT_CONFIG>;

/**
 * Resolves the agent's settings.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names every setting refused.
 */
export function resolveAgentConfig(sources: ConfigSources): AgentConfig {
  return resolveConfig(AGENT_CONFIG, sources);
}
