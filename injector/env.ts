import { LOG_LEVEL_SETTING } from "../common/log-setting.ts";
import { integer, text } from "../common/env-parsers.ts";
import {
  resolveConfig,
  type Config,
  type ConfigSchema,
  type ConfigSources,
} from "../common/env.ts";

/** The injector's settings. docs/reference/config.md shows them; a test keeps it so. */
export const INJECTOR_CONFIG = {
  port: {
    env: "SHIMMY_WEBHOOK_PORT",
    flag: "port",
    parse: integer({ min: 0, max: 65_535 }),
    // Private clusters let the API server reach nodes on 443 and 10250 only.
    default: "10250",
    doc: "Port of the webhooks, health and metrics, over TLS; 0 lets the kernel choose.",
  },
  tlsDir: {
    env: "SHIMMY_TLS_DIR",
    flag: "tls-dir",
    parse: text,
    default: "/etc/shimmy/tls",
    doc: "Directory with `tls.crt` and `tls.key`, as a Secret is mounted; read again when they change.",
  },
  clusterConfigDir: {
    env: "SHIMMY_CLUSTER_CONFIG_DIR",
    flag: "cluster-config-dir",
    parse: text,
    default: "/etc/shimmy/config",
    doc: "Directory with the settings of the cluster, one file a key, as the ConfigMap shimmy-config is mounted; read again when they change.",
  },
  kubeconfig: {
    env: "SHIMMY_KUBECONFIG",
    flag: "kubeconfig",
    parse: text,
    doc: "Kubeconfig file, to read namespaces; when not given, the pod's own account, then `KUBECONFIG`, then `~/.kube/config`.",
  },
  logLevel: LOG_LEVEL_SETTING,
} as const satisfies ConfigSchema;

/** What {@link resolveInjectorConfig} gives. */
export type InjectorConfig = Config<typeof INJECTOR_CONFIG>;

/**
 * Resolves the injector's settings.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names every setting refused.
 */
export function resolveInjectorConfig(sources: ConfigSources): InjectorConfig {
  return resolveConfig(INJECTOR_CONFIG, sources);
}
