import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { RESOURCES, resourcePath } from "../../common/kubernetes/resources.ts";

/** One webhook of a configuration, as far as it is looked at. */
export interface FoundWebhook {
  readonly name: string;
  /** PEM in base64. */
  readonly caBundle: string | undefined;
}

/** What is kept of a MutatingWebhookConfiguration. */
export function takeWebhooks(object: KubernetesObject): readonly FoundWebhook[] {
  const { webhooks = [] } = object as {
    readonly webhooks?: readonly {
      readonly name: string;
      readonly clientConfig?: { readonly caBundle?: string };
    }[];
  };
  return webhooks.map(({ name, clientConfig }) => ({ name, caBundle: clientConfig?.caBundle }));
}

/** Whether the API server trusts a bundle, and nothing else, for all webhooks. */
export function hasBundle(webhooks: readonly FoundWebhook[], bundle: string): boolean {
  const wanted = Buffer.from(bundle).toString("base64");
  return webhooks.every(({ caBundle }) => caBundle === wanted);
}

/**
 * Says which CAs the API server is to trust, and changes nothing else: a webhook that is not where
 * it was found any more makes the whole patch fail.
 *
 * @throws {@link ApiError}
 */
export async function writeBundle(
  api: KubernetesApi,
  name: string,
  webhooks: readonly FoundWebhook[],
  bundle: string,
): Promise<void> {
  const value = Buffer.from(bundle).toString("base64");
  const body = webhooks.flatMap((webhook, index) => [
    { op: "test", path: `/webhooks/${index}/name`, value: webhook.name },
    { op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value },
  ]);
  const path = resourcePath(RESOURCES.mutatingWebhooks, { name });
  await api.request({ method: "PATCH", path, body });
}
