import { boolean, list, listenAddress, oneOf, text } from "../common/env-parsers.ts";
import {
  resolveConfig,
  type Config,
  type ConfigSchema,
  type ConfigSources,
} from "../common/env.ts";
import { LOG_LEVEL_SETTING } from "../common/log-setting.ts";
import { WEBHOOK_CERTIFICATE_SOURCES } from "./certificates/sources.ts";

/** The master's settings. docs/reference/config.md shows them; a test keeps it so. */
export const MASTER_CONFIG = {
  kubeconfig: {
    env: "SHIMMY_KUBECONFIG",
    flag: "kubeconfig",
    parse: text,
    doc: "Kubeconfig file; when not given, the pod's own account, then `KUBECONFIG`, then `~/.kube/config`.",
  },
  leaseNamespace: {
    env: "SHIMMY_LEASE_NAMESPACE",
    flag: "lease-namespace",
    parse: text,
    doc: "Namespace of the Lease by which masters choose their leader; the process's own when not given.",
  },
  leaseName: {
    env: "SHIMMY_LEASE_NAME",
    flag: "lease-name",
    parse: text,
    default: "shimmy-master",
    doc: "Name of that Lease.",
  },
  identity: {
    env: "SHIMMY_IDENTITY",
    flag: "identity",
    parse: text,
    doc: "Name of this process in the Lease; the host's name and a random word when not given.",
  },
  excludedNamespaces: {
    env: "SHIMMY_EXCLUDED_NAMESPACES",
    flag: "excluded-namespaces",
    parse: list(text),
    default: "kube-system,kube-public,kube-node-lease",
    doc: "Namespaces in which nothing is injected, besides the one of the Lease; their pods are not reported.",
  },
  webhookCertificates: {
    env: "SHIMMY_WEBHOOK_CERTIFICATES",
    flag: "webhook-certificates",
    parse: oneOf(WEBHOOK_CERTIFICATE_SOURCES),
    default: "self",
    doc: "Who makes the injector's certificate, and tells the API server whom to trust: `self` is the master, `external` is somebody else.",
  },
  isEvicting: {
    env: "SHIMMY_EVICT_UNINJECTED",
    flag: "evict-uninjected",
    parse: boolean,
    default: "false",
    doc: "Whether pods that opted in and have no sidecar are evicted, one at a time, to be made anew; see master.md.",
  },
  adminAddress: {
    env: "SHIMMY_ADMIN_ADDRESS",
    flag: "admin-address",
    parse: listenAddress,
    default: "0.0.0.0:14790",
    doc: "Address of health, metrics and status over HTTP; port 0 lets the kernel choose.",
  },
  logLevel: LOG_LEVEL_SETTING,
} as const satisfies ConfigSchema;

/** What {@link resolveMasterConfig} gives. */
export type MasterConfig = Config<typeof MASTER_CONFIG>;

/**
 * Resolves the master's settings.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names every setting refused.
 */
export function resolveMasterConfig(sources: ConfigSources): MasterConfig {
  return resolveConfig(MASTER_CONFIG, sources);
}
