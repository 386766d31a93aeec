import { carryKeys } from "./carry-keys.ts";
import type { InjectionConfig } from "./config.ts";
import { injectPod, type InjectionResult } from "./inject-pod.ts";
import { applyPatch, pointer, prefixPatch, type JsonPatch } from "./json-patch.ts";
import { messageOf } from "../common/errors.ts";
import type { NamespaceMetadata } from "./opt-in.ts";
import type { Fields } from "./raw.ts";
import { templateOf, workloadKind } from "./workloads.ts";

/** Where an object of a file lives. */
export interface ObjectPlace {
  readonly podNamespace: string;
  readonly namespace: NamespaceMetadata;
}

/**
 * Does to an object of a file what the webhooks do to it, and to its pods, in a cluster.
 *
 * @returns The result with its patch on the whole object; `undefined` when it makes no pods.
 */
export function injectObject(
  object: Fields,
  { podNamespace, namespace }: ObjectPlace,
  config: InjectionConfig,
): InjectionResult | undefined {
  const kind = workloadKind(object);
  if (kind === undefined) return undefined;
  try {
    const carried = carryKeys(object, "CREATE");
    const pod = templateOf(applyPatch(object, carried), kind);
    if (pod === undefined) return undefined;
    const result = injectPod({ pod, podNamespace, namespace }, config);
    if (result.outcome === "refused") return result;
    const patch: JsonPatch = [...carried, ...prefixPatch(pointer(...kind.template), result.patch)];
    return { ...result, patch };
  } catch (err) {
    return { outcome: "refused", reason: "bad_value", message: messageOf(err) };
  }
}
