// Looks for kinds of policy that cannot be evaluated, by discovery.
//
//   I1  a kind of which it cannot be told what objects it has counts as one that is everywhere
import { ApiError } from "../../common/kubernetes/api-error.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { resourcePath, type Resource } from "../../common/kubernetes/resources.ts";
import { FOREIGN_KINDS } from "./foreign-kinds.ts";

/** A kind that is in force. */
export interface KindInForce {
  /** `plural.group`. */
  readonly name: string;
  /** Those in which it has objects; `undefined`: it is about pods of all of them. */
  readonly namespaces: ReadonlySet<string> | undefined;
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
export async function findForeignKinds(get: Get): Promise<readonly KindInForce[]> {
  const { groups = [] } = (await get("/apis")) as GroupList;
  const found: KindInForce[] = [];
  for (const { name, preferredVersion } of groups) {
    const plurals = FOREIGN_KINDS.filter(({ group }) => group === name).map(({ plural }) => plural);
    if (plurals.length === 0 || preferredVersion === undefined) continue;
    for (const resource of await servedOf(preferredVersion.groupVersion, plurals, get)) {
      const kind = await inspect(resource, get);
      if (kind !== undefined) found.push(kind);
    }
  }
  return found;
}

/** Those of some kinds that a version has. */
async function servedOf(
  apiVersion: string,
  plurals: readonly string[],
  get: Get,
): Promise<Resource[]> {
  const { resources = [] } = (await get(`/apis/${apiVersion}`)) as ResourceList;
  return resources
    .filter(({ name }) => plurals.includes(name))
    .map(({ name: plural, kind = "", namespaced: isNamespaced = false }) => ({
      apiVersion,
      kind,
      plural,
      isNamespaced,
    }));
}

/** @returns Nothing when there are no objects of the kind. */
async function inspect(resource: Resource, get: Get): Promise<KindInForce | undefined> {
  const { plural, apiVersion, isNamespaced } = resource;
  const name = `${plural}.${apiVersion.replace(/\/.*/, "")}`;
  const list = await objectsOf(resource, get);
  if (list === undefined) return { name, namespaces: undefined }; // I1
  const { items, metadata } = list;
  if (!Array.isArray(items) || items.length === 0) return undefined;
  const isWhole = (metadata?.continue ?? "") === "";
  return { name, namespaces: isNamespaced && isWhole ? namespacesOf(items) : undefined };
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
