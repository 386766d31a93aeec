import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import { ApiError } from "../../common/kubernetes/api-error.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { RESOURCES, resourcePath } from "../../common/kubernetes/resources.ts";
import type { Kept } from "./certificate.ts";

/** A Secret as it was found. */
export interface FoundSecret extends KubernetesObject {
  readonly type?: string;
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
}

/** Which Secret. */
export interface SecretTarget {
  readonly namespace: string;
  readonly name: string;
}

const { secrets } = RESOURCES;
/** `shimmy check` and `shimmy uninstall` find what is ours by these. */
const LABELS = {
  "app.kubernetes.io/name": "shimmy",
  "app.kubernetes.io/part-of": "shimmy",
  "app.kubernetes.io/component": "master",
};

/**
 * Reads a Secret.
 *
 * @throws {@link ApiError} for every other reason than that there is none.
 */
export async function readSecret(
  api: KubernetesApi,
  target: SecretTarget,
): Promise<FoundSecret | undefined> {
  try {
    return (await api.request({ path: resourcePath(secrets, { ...target }) })) as FoundSecret;
  } catch (err) {
    if (err instanceof ApiError && err.status === 404) return undefined;
    throw err;
  }
}

/** What a Secret holds, as text. */
export function decodeSecret({ data = {} }: FoundSecret): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]),
  );
}

/**
 * Makes a Secret hold this and nothing else.
 *
 * @throws {@link ApiError} also when somebody else wrote it meanwhile.
 */
export async function writeSecret(
  api: KubernetesApi,
  { namespace, name }: SecretTarget,
  { cert, key, bundle }: Kept,
  found: FoundSecret | undefined,
): Promise<void> {
  const { apiVersion, kind } = secrets;
  const encode = (text: string): string => Buffer.from(text).toString("base64");
  const data = { "tls.crt": encode(cert), "tls.key": encode(key), "ca.crt": encode(bundle) };
  if (found === undefined) {
    const metadata = { namespace, name, labels: LABELS };
    const body = { apiVersion, kind, metadata, type: "kubernetes.io/tls", data };
    await api.request({ method: "POST", path: resourcePath(secrets, { namespace }), body });
    return;
  }
  const labels = { ...found.metadata.labels, ...LABELS };
  // The type cannot be changed. The version is there, so that nothing newer is overwritten.
  const body = { ...found, apiVersion, kind, metadata: { ...found.metadata, labels }, data };
  await api.request({ method: "PUT", path: resourcePath(secrets, { namespace, name }), body });
}
