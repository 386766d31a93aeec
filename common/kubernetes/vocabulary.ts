/**
 * Names in the cluster that more than one part relies on. What people may write, and how it is read,
 * is in injector/vocabulary.ts.
 */

/** Name of the container that the injector adds. */
export const SIDECAR_NAME = "shimmy-sidecar";

/** Namespace of Shimmy's own parts, unless they were installed elsewhere. */
export const SYSTEM_NAMESPACE = "shimmy-system";

/** Name of the ConfigMap with the settings of the cluster. */
export const CLUSTER_CONFIG_NAME = "shimmy-config";

/** The cap for connections, on pods and namespaces; in the cluster's settings without its prefix. */
export const TRANSPORT_KEY = "shimmy.io/transport";

/** Name of the injector's Deployment, its Service, and the configuration of its webhooks. */
export const INJECTOR_NAME = "shimmy-injector";

/** Secrets with certificates that the master keeps, in Shimmy's namespace. */
export const CERTIFICATE_SECRETS = {
  webhookCa: "shimmy-webhook-ca",
  fabricCa: "shimmy-fabric-ca",
  injectorTls: "shimmy-injector-tls",
} as const;
