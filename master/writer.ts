import { isDeepStrictEqual } from "node:util";

import type { KubernetesApi } from "../common/kubernetes/api-client.ts";
import { RESOURCES, resourcePath } from "../common/kubernetes/resources.ts";
import type { SharedMemoryObjectStatus } from "../common/kubernetes/shared-memory-object.ts";
import type { Attachment, ShimmyNode } from "../common/kubernetes/shimmy-node.ts";
import type { FoundNode, FoundObject } from "./world.ts";

const { sharedMemoryObjects, shimmyNodes } = RESOURCES;

/**
 * Makes a ShimmyNode what it is to be.
 *
 * It is owned by its Node, so that it goes when the node does, whether there is a master then or not.
 *
 * @returns Whether something was written.
 * @throws {@link ApiError} also when the object was changed meanwhile.
 */
export async function writeNode(
  api: KubernetesApi,
  { name, uid }: FoundNode,
  attachments: readonly Attachment[],
  found: ShimmyNode | undefined,
): Promise<boolean> {
  const ownerReferences = [{ apiVersion: "v1", kind: "Node", name, uid }];
  if (found === undefined) {
    const { apiVersion, kind } = shimmyNodes;
    const metadata = { name, ownerReferences };
    const body = { apiVersion, kind, metadata, spec: { attachments } };
    await api.request({ method: "POST", path: resourcePath(shimmyNodes), body });
    return true;
  }
  if (isNodeRight(found, { uid, attachments })) return false;
  const { resourceVersion } = found.metadata;
  await api.request({
    method: "PATCH",
    path: resourcePath(shimmyNodes, { name }),
    body: { metadata: { resourceVersion, ownerReferences }, spec: { attachments } },
  });
  return true;
}

/** Whether a ShimmyNode is what it is to be. */
export function isNodeRight(
  found: ShimmyNode | undefined,
  wanted: { readonly uid: string; readonly attachments: readonly Attachment[] },
): boolean {
  if (found === undefined) return false;
  const owners = found.metadata.ownerReferences ?? [];
  const attachments = found.spec?.attachments ?? [];
  return (
    owners.length === 1 &&
    owners[0]?.uid === wanted.uid &&
    isDeepStrictEqual(attachments, wanted.attachments)
  );
}

/**
 * Writes an object's status.
 *
 * @throws {@link ApiError} also when the object was changed meanwhile.
 */
export async function writeStatus(
  api: KubernetesApi,
  { metadata }: FoundObject,
  status: SharedMemoryObjectStatus,
): Promise<void> {
  const { namespace, name, resourceVersion } = metadata;
  await api.request({
    method: "PATCH",
    path: resourcePath(sharedMemoryObjects, { namespace, name, subresource: "status" }),
    body: { metadata: { resourceVersion }, status },
  });
}

/** Whether an object's status is what it is to be. */
export function isStatusRight(
  { status }: FoundObject,
  wanted: SharedMemoryObjectStatus | undefined,
): boolean {
  return wanted === undefined || isDeepStrictEqual(status, wanted);
}
