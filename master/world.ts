import type { KubernetesObject, ObjectMeta, OwnerReference } from "../common/kubernetes/objects.ts";
import {
  checkSharedMemoryObject,
  type SharedMemoryObject,
  type SharedMemoryObjectStatus,
} from "../common/kubernetes/shared-memory-object.ts";
import { checkShimmyNode, type ShimmyNode } from "../common/kubernetes/shimmy-node.ts";
import { SIDECAR_NAME } from "../common/kubernetes/vocabulary.ts";
import { ShimmyError } from "../common/errors.ts";

/** A pod, with no more than is looked at: there may be many. */
export interface MasterPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly createdAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Where it runs; `undefined` before it was scheduled. */
  readonly node: string | undefined;
  /** Names of its containers, the sidecar left out. */
  readonly containers: readonly string[];
  readonly hasSidecar: boolean;
  /** Who makes it anew when it is gone. */
  readonly controller: OwnerReference | undefined;
  readonly isReady: boolean;
  /** Whether its containers have ended for good. */
  readonly isFinished: boolean;
  /** Whether it was asked to end. */
  readonly isTerminating: boolean;
}

/** A SharedMemoryObject as it was found, sound or not. */
export interface FoundObject {
  readonly metadata: ObjectMeta & { readonly namespace: string; readonly uid: string };
  /** `undefined` when it is not sound. */
  readonly spec: SharedMemoryObject["spec"] | undefined;
  readonly problem: string | undefined;
  readonly status: SharedMemoryObjectStatus | undefined;
}

/** A node: its name and identity. */
export interface FoundNode {
  readonly name: string;
  readonly uid: string;
}

/** Labels of a namespace. */
export interface FoundNamespace {
  readonly labels: Readonly<Record<string, string>>;
}

/** All that decisions are made from. */
export interface World {
  /** By `namespace/name`. */
  readonly objects: ReadonlyMap<string, FoundObject>;
  /** By `namespace/name`. */
  readonly pods: ReadonlyMap<string, MasterPod>;
  /** By name. */
  readonly nodes: ReadonlyMap<string, FoundNode>;
}

const KEY_PATTERN = /(?:^|\.)shimmy\.io\/|^kubernetes\.io\/config\.mirror$/;

interface RawPod extends KubernetesObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly containers?: readonly { readonly name: string }[];
    readonly initContainers?: readonly { readonly name: string }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** Keeps what is looked at of a pod. */
export function takePod(object: KubernetesObject): MasterPod {
  const { metadata, spec = {}, status = {} } = object as RawPod;
  const names = [...(spec.initContainers ?? []), ...(spec.containers ?? [])].map(
    ({ name }) => name,
  );
  const annotations = Object.entries(metadata.annotations ?? {});
  return {
    ...identityOf(metadata),
    createdAt: metadata.creationTimestamp ?? "",
    labels: metadata.labels ?? {},
    annotations: Object.fromEntries(annotations.filter(([key]) => KEY_PATTERN.test(key))),
    node: spec.nodeName,
    containers: names.filter((name) => name !== SIDECAR_NAME),
    hasSidecar: names.includes(SIDECAR_NAME),
    controller: controllerOf(metadata),
    isReady: isReady(status),
    isFinished: status.phase === "Succeeded" || status.phase === "Failed",
    isTerminating: metadata.deletionTimestamp !== undefined,
  };
}

function controllerOf({ ownerReferences = [] }: ObjectMeta): OwnerReference | undefined {
  return ownerReferences.find(({ controller }) => controller === true);
}

function isReady({ conditions = [] }: NonNullable<RawPod["status"]>): boolean {
  return conditions.some(({ type, status }) => type === "Ready" && status === "True");
}

/** Keeps an object; one that is not sound too, because its status has to say so. */
export function takeObject(object: KubernetesObject): FoundObject {
  const { namespace, uid } = identityOf(object.metadata);
  // What is large and not looked at.
  const metadata = { ...object.metadata, namespace, uid, managedFields: undefined };
  const checked = checkSharedMemoryObject(object);
  const { status } = object as SharedMemoryObject;
  if (checked.problem !== undefined) {
    const isReadable = Array.isArray(status?.conditions);
    return {
      metadata,
      spec: undefined,
      problem: checked.problem,
      status: isReadable ? status : undefined,
    };
  }
  return { metadata, spec: checked.object.spec, problem: undefined, status };
}

/** Keeps name and identity of a node. */
export function takeNode({ metadata: { name, uid = "" } }: KubernetesObject): FoundNode {
  return { name, uid };
}

/** Keeps the labels of a namespace. */
export function takeNamespace({ metadata: { labels = {} } }: KubernetesObject): FoundNamespace {
  return { labels };
}

/**
 * Checks a ShimmyNode.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_KUBERNETES_API` when it is none.
 */
export function takeShimmyNode(object: KubernetesObject): ShimmyNode {
  const checked = checkShimmyNode(object);
  if (checked.problem === undefined) return checked.object;
  throw new ShimmyError("SHIMMY_ERR_KUBERNETES_API", checked.problem);
}

function identityOf({ namespace = "", name, uid = "" }: ObjectMeta): {
  namespace: string;
  name: string;
  uid: string;
} {
  return { namespace, name, uid };
}
