// Looks for kinds of policy that cannot be evaluated, by discovery.
//
//   I1  a kind of which it cannot be told what objects it has counts as one that is everywhere
import { ApiError } from "../../common/kubernetes/api-error.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { resourcePath, type Resource } from "../../common/kubernetes/resources.ts";
import { CILIUM_GROUP, FOREIGN_KINDS, type ForeignKind } from "../network-policy/foreign-kinds.ts";

/** A kind that is in force. */
export interface KindInForce {
  /** `plural.group`. */
  readonly name: string;
  /** Those in which it has objects; `undefined`: it is about pods of all of them. */
  readonly namespaces: ReadonlySet<string> | undefined;
}

/** What was found. */
export interface ForeignFindings {
  readonly kinds: readonly KindInForce[];
  /** Whether an `ipBlock` of a NetworkPolicy is about pods. */
  readonly areBlocksForPods: boolean;
}

/** Asks the API server. */
export type Get = (path: string, query?: Readonly<Record<string, number>>) => Promise<unknown>;

interface GroupList {
  readonly groups?: readonly {
    readonly name: string;
    readonly preferredVersion?: { readonly groupVersion: string };
  }[];
}

interface ResourceList {
  readonly resources?: readonly {
    readonly name: string;
    readonly kind?: string;
    readonly namespaced?: boolean;
  }[];
}

interface ObjectList {
  readonly items?: readonly KubernetesObject[] | null;
  readonly metadata?: { readonly continue?: string };
}

/** Objects looked at of each kind; one that has more counts as everywhere. */
const MAX_OBJECTS = 500;

/**
 * Finds the kinds of which there are objects.
 *
 * @throws {@link ApiError} when the API server does not answer.
 * @see https://kubernetes.io/docs/concepts/overview/kubernetes-api/#unaggregated-discovery
 */
export async function findForeignKinds(get: Get): Promise<ForeignFindings> {
  const { groups = [] } = (await get("/apis")) as GroupList;
  const kinds: KindInForce[] = [];
  for (const { name, preferredVersion } of groups) {
    const wanted = FOREIGN_KINDS.filter(({ group }) => group === name);
    if (wanted.length === 0 || preferredVersion === undefined) continue;
    for (const served of await servedOf(preferredVersion.groupVersion, wanted, get)) {
      const kind = await inspect(served, get);
      if (kind !== undefined) kinds.push(kind);
    }
  }
  return { kinds, areBlocksForPods: !groups.some(({ name }) => name === CILIUM_GROUP) };
}

/** A kind that the server has. */
interface ServedKind {
  readonly resource: Resource;
  readonly isOfNamespace: boolean;
}

/** Those of some kinds that a version has. */
async function servedOf(
  apiVersion: string,
  wanted: readonly ForeignKind[],
  get: Get,
): Promise<ServedKind[]> {
  const { resources = [] } = (await get(`/apis/${apiVersion}`)) as ResourceList;
  return wanted.flatMap(({ plural, isOfNamespace }) => {
    const found = resources.find(({ name }) => name === plural);
    if (found === undefined) return [];
    const { kind = "", namespaced: isNamespaced = false } = found;
    const resource = { apiVersion, kind, plural, isNamespaced };
    return [{ resource, isOfNamespace: isOfNamespace && isNamespaced }];
  });
}

/** @returns Nothing when there are no objects of the kind. */
async function inspect(
  { resource, isOfNamespace }: ServedKind,
  get: Get,
): Promise<KindInForce | undefined> {
  const { plural, apiVersion } = resource;
  const name = `${plural}.${apiVersion.replace(/\/.*/, "")}`;
  const list = await objectsOf(resource, get);
  if (list === undefined) return { name, namespaces: undefined }; // I1
  const { items, metadata } = list;
  if (!Array.isArray(items) || items.length === 0) return undefined;
  const isWhole = (metadata?.continue ?? "") === "";
  return { name, namespaces: isOfNamespace && isWhole ? namespacesOf(items) : undefined };
}

/** @returns Nothing when we may not ask. */
async function objectsOf(resource: Resource, get: Get): Promise<ObjectList | undefined> {
  try {
    return (await get(resourcePath(resource), { limit: MAX_OBJECTS })) as ObjectList;
  } catch (err) {
    const status = err instanceof ApiError ? err.status : 0;
    if (status === 404) return {}; // gone since it was discovered
    if (status === 403 || status === 405) return undefined;
    throw err;
  }
}

function namespacesOf(items: readonly KubernetesObject[]): ReadonlySet<string> {
  return new Set(items.map(({ metadata }) => metadata.namespace ?? ""));
}
