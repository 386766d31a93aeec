/**
 * Carries our keys from the metadata of a workload to its pod template, so that
 * `kubectl annotate deployment NAME shimmy.io/inject=enabled` starts a rollout and removing the
 * annotation undoes it.
 *
 * What was carried is recorded in the template, key by key with a hash of the value: only a key
 * whose value is still the one recorded is ours, and only ours are replaced or removed. The
 * template's own keys win, the label `shimmy.io/inject` among them.
 */
import { createHash } from "node:crypto";

import { pointer, prefixPatch, type JsonPatch, type PatchOperation } from "./json-patch.ts";
import { has, objectAt, own, textAt, type Fields } from "./raw.ts";
import { metadataEntries } from "./read-keys.ts";
import { isOurKey, VOCABULARY, WRITTEN } from "./vocabulary.ts";
import { templateOf, workloadKind } from "./workloads.ts";

/** The one that a request is about. */
export type WriteOperation = "CREATE" | "UPDATE";

const WRITTEN_KEYS = new Set<string>(Object.values(WRITTEN).map(({ key }) => key));
const RECORD = WRITTEN.carried.key;

/**
 * The changes that bring a workload's template in line with its metadata.
 *
 * @returns Nothing for other kinds, objects being deleted, and Jobs that exist.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when metadata or template have a wrong form.
 */
export function carryKeys(workload: Fields, operation: WriteOperation): JsonPatch {
  const kind = workloadKind(workload);
  if (kind?.isCarried !== true || (operation === "UPDATE" && !kind.isMutable)) return [];
  if (has(objectAt(workload, "metadata"), "deletionTimestamp")) return [];
  const template = templateOf(workload, kind);
  if (template === undefined) return [];
  const carried = planCarry(metadataEntries(workload, "annotations"), template);
  return prefixPatch(pointer(...kind.template), templatePatch(template, carried));
}

/** What the template's annotations are to be, as far as they are ours. */
interface CarryPlan {
  readonly set: ReadonlyMap<string, string>;
  readonly remove: readonly string[];
}

function planCarry(metadata: Fields, template: Fields): CarryPlan {
  const annotations = metadataEntries(template, "annotations");
  const ours = new Set(
    [...readRecord(annotations)]
      .filter(([key, hash]) => hashOf(own(annotations, key)) === hash)
      .map(([key]) => key),
  );
  const isFree = (key: string): boolean =>
    ours.has(key) || (own(annotations, key) === undefined && !isLabelled(template, key));
  const set = new Map(
    Object.keys(metadata)
      .filter((key) => isOurKey(key) && !WRITTEN_KEYS.has(key) && isFree(key))
      .toSorted()
      .flatMap((key) => {
        const value = textAt(metadata, key);
        return value === undefined ? [] : [[key, value] as const];
      }),
  );
  return { set, remove: [...ours].filter((key) => !set.has(key)) };
}

/** The template's label is nearer than the workload's annotation, and `disabled` must not win there. */
function isLabelled(template: Fields, key: string): boolean {
  const labels = metadataEntries(template, "labels");
  return key === VOCABULARY.inject.key && own(labels, key) !== undefined;
}

function templatePatch(template: Fields, { set, remove }: CarryPlan): JsonPatch {
  const annotations = metadataEntries(template, "annotations");
  const record = [...set].map(([key, value]) => `${key}=${hashOf(value)}`).join(",");
  const wanted = new Map(record === "" ? set : [...set, [RECORD, record]]);
  const stale =
    record === "" && own(annotations, RECORD) !== undefined ? [...remove, RECORD] : remove;
  const path = (key: string): string => pointer("metadata", "annotations", key);
  const parents = wanted.size === 0 ? [] : missingParents(template);
  return [
    ...parents,
    ...stale.map((key): PatchOperation => ({ op: "remove", path: path(key) })),
    ...[...wanted].flatMap(([key, value]): PatchOperation[] => {
      const current = own(annotations, key);
      if (current === value) return [];
      return [{ op: current === undefined ? "add" : "replace", path: path(key), value }];
    }),
  ];
}

function missingParents(template: Fields): PatchOperation[] {
  if (!has(template, "metadata")) {
    return [{ op: "add", path: pointer("metadata"), value: { annotations: {} } }];
  }
  if (has(objectAt(template, "metadata"), "annotations")) return [];
  return [{ op: "add", path: pointer("metadata", "annotations"), value: {} }];
}

/** Lenient: a record that somebody changed makes keys the template's own, and no error. */
function readRecord(annotations: Fields): ReadonlyMap<string, string> {
  const entries = (textAt(annotations, RECORD) ?? "").split(",");
  return new Map(
    entries.flatMap((entry) => {
      const [key, hash, ...rest] = entry.split("=");
      if (key === undefined || hash === undefined || rest.length > 0) return [];
      const isOurs = isOurKey(key) && !WRITTEN_KEYS.has(key) && /^[0-9a-f]{8}$/.test(hash);
      return isOurs ? [[key, hash] as const] : [];
    }),
  );
}

/** Short: it tells a value that somebody changed from ours, and keeps no secret. */
function hashOf(value: unknown): string {
  if (typeof value !== "string") return "";
  return createHash("sha256").update(value).digest("hex").slice(0, 8);
}
