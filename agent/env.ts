import { LOG_LEVEL_SETTING } from "../common/log-setting.ts";
import {
  boolean,
  duration,
  integer,
  listenAddress,
  text,
  type ListenAddress,
} from "../common/env-parsers.ts";
import {
  resolveConfig,
  type Config,
  type ConfigSchema,
  type ConfigSources,
} from "../common/env.ts";
import { ShimmyError } from "../common/errors.ts";
import { DEFAULT_QUOTAS } from "./quotas.ts";

/** The agent's settings. docs/reference/config.md shows them; a test keeps it so. */
export const AGENT_CONFIG = {
  catalog: {
    env: "SHIMMY_CATALOG",
    flag: "catalog",
    parse: text,
    doc: "The catalog file, see catalog.md; read again when it changes. Either this or a node's name is required.",
  },
  nodeName: {
    env: "SHIMMY_NODE_NAME",
    flag: "node-name",
    parse: text,
    doc: "Name of the Kubernetes node whose pods are served, in place of a catalog file.",
  },
  kubeconfig: {
    env: "SHIMMY_KUBECONFIG",
    flag: "kubeconfig",
    parse: text,
    doc: "Kubeconfig file; when not given, the pod's own account, then `KUBECONFIG`, then `~/.kube/config`.",
  },
  netnsHelper: {
    env: "SHIMMY_NETNS_HELPER",
    flag: "netns-helper",
    parse: text,
    default: "/run/shimmy/helper.sock",
    doc: "In Kubernetes, the socket of shimmy-netns-helper, which makes the sockets in the pods' network namespaces.",
  },
  adminAddress: {
    env: "SHIMMY_ADMIN_ADDRESS",
    flag: "admin-address",
    parse: listenAddress,
    doc: "Address of health, metrics and status over HTTP; port 0 lets the kernel choose. When not given, `0.0.0.0:14790` in Kubernetes and none with a catalog file.",
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
  protocolVersion: {
    env: "SHIMMY_PROTOCOL_VERSION",
    flag: "protocol-version",
    parse: integer({ min: 1, max: 65_535 }),
    doc: "Newest version of the messages to sidecars that is spoken, at most this build's own, which it is when not given; an older one is for tests of upgrades.",
  },
  redisUrl: {
    env: "SHIMMY_REDIS_URL",
    flag: "redis-url",
    parse: redisUrl,
    doc: "Redis server on which channels are on record, for agents that share topics outside Kubernetes: `redis://HOST:PORT/DATABASE`, or `rediss://` over TLS. In memory when not given.",
  },
  redisUsername: {
    env: "SHIMMY_REDIS_USERNAME",
    flag: "redis-username",
    parse: text,
    doc: "User of the Redis server; its default user when not given.",
  },
  redisPasswordFile: {
    env: "SHIMMY_REDIS_PASSWORD_FILE",
    flag: "redis-password-file",
    parse: text,
    doc: "File with the password for the Redis server; read at each connect.",
  },
  redisCaFile: {
    env: "SHIMMY_REDIS_CA_FILE",
    flag: "redis-ca-file",
    parse: text,
    doc: "File with the certificates that may have signed the Redis server's; the system's when not given.",
  },
  channelGrace: {
    env: "SHIMMY_CHANNEL_GRACE",
    flag: "channel-grace",
    parse: duration({ min: 1000, max: 86_400_000 }),
    default: "5m",
    doc: "How long a channel that nobody has attached keeps what was not read.",
  },
} as const satisfies ConfigSchema;

/** Who names authorities means their word to count. */
function requireTls({
  redisUrl: url,
  redisCaFile,
}: Pick<Config<typeof AGENT_CONFIG>, "redisUrl" | "redisCaFile">): void {
  if (redisCaFile === undefined || url?.startsWith("rediss:") === true) return;
  throw new ShimmyError(
    "SHIMMY_ERR_INVALID_CONFIG",
    "SHIMMY_REDIS_CA_FILE is for a SHIMMY_REDIS_URL that begins with rediss:",
  );
}

/** Reads the URL of a Redis server. */
function redisUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const isRight =
    (url?.protocol === "redis:" || url?.protocol === "rediss:") &&
    url.hostname !== "" &&
    /^(?:\/\d{0,4})?$/.test(url.pathname) &&
    url.search + url.hash === "";
  if (!isRight) {
    throw new ShimmyError(
      "SHIMMY_ERR_INVALID_CONFIG",
      "expected a URL such as redis://127.0.0.1:6379/0 or rediss://redis.example:6379",
    );
  }
  // The environment of a process can be read by others of its user, and ends up in bug reports.
  if (url.username + url.password !== "") {
    throw new ShimmyError(
      "SHIMMY_ERR_INVALID_CONFIG",
      "credentials belong into SHIMMY_REDIS_USERNAME and SHIMMY_REDIS_PASSWORD_FILE",
    );
  }
  return value;
}

/** What {@link resolveAgentConfig} gives: exactly one of `catalog` and `nodeName`. */
export type AgentConfig = Omit<Config<typeof AGENT_CONFIG>, "catalog" | "nodeName"> &
  (
    | { readonly catalog: string; readonly nodeName: undefined }
    | { readonly catalog: undefined; readonly nodeName: string }
  );

const KUBERNETES_ADMIN_ADDRESS: ListenAddress = { address: "0.0.0.0", port: 14_790 };

/**
 * Resolves the agent's settings.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names every setting refused.
 */
export function resolveAgentConfig(sources: ConfigSources): AgentConfig {
  const { catalog, nodeName, ...config } = resolveConfig(AGENT_CONFIG, sources);
  requireTls(config);
  if (catalog !== undefined && nodeName === undefined) return { ...config, catalog, nodeName };
  if (nodeName === undefined || catalog !== undefined) {
    throw new ShimmyError(
      "SHIMMY_ERR_INVALID_CONFIG",
      "exactly one of SHIMMY_CATALOG (a file) and SHIMMY_NODE_NAME (Kubernetes) is required",
    );
  }
  if (config.redisUrl !== undefined) {
    throw new ShimmyError(
      "SHIMMY_ERR_INVALID_CONFIG",
      "SHIMMY_REDIS_URL is for local mode: in Kubernetes channels are on record in its API",
    );
  }
  const adminAddress = config.adminAddress ?? KUBERNETES_ADMIN_ADDRESS;
  return { ...config, adminAddress, catalog, nodeName };
}
