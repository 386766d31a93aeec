import { objectAt, textAt, type Fields } from "./raw.ts";
import { metadataEntries } from "./read-keys.ts";
import { VOCABULARY } from "./vocabulary.ts";

/** What was asked for, and by whom: `explicit` is the pod or its workload, `inherited` the namespace. */
export type OptIn = "explicit" | "inherited" | "opted_out" | "not_opted_in";

/** Labels and annotations of a namespace, as far as they are known. */
export interface NamespaceMetadata {
  readonly labels?: Fields;
  readonly annotations?: Fields;
}

/**
 * Decides whether a sidecar was asked for: the nearest level wins, and on one level `disabled` wins.
 *
 * The workload's level is not seen here: its key has been carried to the template before, where the
 * template's own keys win. Values that are no values count as asked for, so that they are refused.
 */
export function resolveOptIn(pod: Fields, namespace: NamespaceMetadata): OptIn {
  const { key } = VOCABULARY.inject;
  const own = [metadataEntries(pod, "labels"), metadataEntries(pod, "annotations")]
    .filter((entries) => Object.hasOwn(entries, key))
    .map((entries) => textAt(entries, key));
  if (own.length > 0) return own.includes("disabled") ? "opted_out" : "explicit";
  const inherited = textAt(objectAt({ ...namespace }, "labels"), key);
  if (inherited === undefined) return "not_opted_in";
  return inherited === "disabled" ? "opted_out" : "inherited";
}
