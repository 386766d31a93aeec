import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import type { Resource } from "../../common/kubernetes/resources.ts";
import { isObject, objectAt, textAt, type Fields } from "../../injector/raw.ts";
import { isOurKey } from "../../injector/vocabulary.ts";
import { templateOf, workloadKind } from "../../injector/workloads.ts";
import { KINDS } from "../cluster/kinds.ts";

/** Kinds whose keys are removed, what their pods inherit from first. */
export const OPT_OUT_KINDS: readonly Resource[] = [
  KINDS.namespaces,
  KINDS.deployments,
  KINDS.statefulSets,
  KINDS.daemonSets,
  KINDS.cronJobs,
];

/** What is to be removed from one object. */
export interface OptOut {
  /** `KEY=VALUE` of everything, so that it can be put back. */
  readonly removed: readonly string[];
  /** A merge patch. */
  readonly patch: unknown;
}

/**
 * Plans to remove every key of ours from an object, and from its pod template in the same request:
 * then the two do not differ, and the webhook that carries keys need not be there.
 *
 * @returns `undefined` when there is none.
 */
export function planOptOut(object: KubernetesObject): OptOut | undefined {
  const raw = { ...object } as unknown as Fields;
  const own = ourEntries(raw);
  const kind = workloadKind(raw);
  const template = kind?.isMutable === true ? (templateOf(raw, kind) ?? {}) : {};
  const inner = ourEntries(template);
  if (own.length + inner.length === 0) return undefined;
  const path = inner.length === 0 ? [] : (kind?.template ?? []);
  const templatePatch = { metadata: removal(inner) };
  const nested = path.reduceRight<unknown>((value, name) => ({ [name]: value }), templatePatch);
  return {
    removed: [...new Set([...own, ...inner].map(({ key, value }) => `${key}=${value}`))],
    patch: { metadata: removal(own), ...(path.length > 0 && isObject(nested) ? nested : {}) },
  };
}

interface Entry {
  readonly list: "labels" | "annotations";
  readonly key: string;
  readonly value: string;
}

function ourEntries(object: Fields): readonly Entry[] {
  const metadata = objectAt(object, "metadata");
  return (["labels", "annotations"] as const).flatMap((list) => {
    const entries = objectAt(metadata, list);
    return Object.keys(entries)
      .filter(isOurKey)
      .map((key) => ({ list, key, value: textAt(entries, key) ?? "" }));
  });
}

function removal(entries: readonly Entry[]): Fields {
  const byList = Map.groupBy(entries, ({ list }) => list);
  return Object.fromEntries(
    [...byList].map(([list, group]) => [
      list,
      Object.fromEntries(group.map(({ key }) => [key, null])),
    ]),
  );
}
