import { boolean, integer, list, oneOf, text } from "../common/env-parsers.ts";
import { messageOf } from "../common/errors.ts";
import { didYouMean } from "../common/suggest.ts";
import { VERSION } from "../common/version.ts";
import { isObject, refused, shown } from "./raw.ts";
import { VOCABULARY, type Place, type SettingName, type Settings } from "./vocabulary.ts";

/** Settings of injection that are not of one pod. */
export interface InjectionConfig {
  /** Of the cluster, below those of namespace, workload and pod. */
  readonly settings: Settings;
  /** User of the sidecar; `undefined` leaves it to the image and the pod. */
  readonly runAsUser: number | undefined;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never" | undefined;
  /** Runtime classes, besides none, whose pods share the node's kernel and network namespaces. */
  readonly runtimeClasses: readonly string[];
  /** In which nothing is injected. */
  readonly excludedNamespaces: readonly string[];
  /** Where the sidecar serves health and metrics. */
  readonly adminAddress: string;
  /** Shimmy's version, for the status annotation. */
  readonly version: string;
}

/** A setting of the cluster that no annotation has. */
interface ClusterKey {
  readonly parse: (text: string) => unknown;
  readonly default: string;
  readonly doc: string;
}

/** Keys of the cluster's settings besides those of {@link VOCABULARY}. */
export const CLUSTER_KEYS = {
  "run-as-user": {
    parse: (value) =>
      value === "unset" ? undefined : integer({ min: 1, max: 2 ** 31 - 1 })(value),
    default: "65532",
    doc: "User id of the sidecar; `unset` leaves it to the image and the pod, as OpenShift wants it.",
  },
  "image-pull-policy": {
    parse: (value) =>
      value === "unset" ? undefined : oneOf(["Always", "IfNotPresent", "Never"])(value),
    default: "unset",
    doc: "When the sidecar's image is pulled; `unset` leaves it to Kubernetes.",
  },
  "runtime-classes": {
    parse: list(text),
    default: "",
    doc: "Runtime classes whose containers share the node's kernel, such as `runc`. Pods of other classes, in sandboxes of their own, get no sidecar.",
  },
  "excluded-namespaces": {
    parse: list(text),
    default: "kube-system,kube-public,kube-node-lease,shimmy-system",
    doc: "Namespaces in which nothing is injected.",
  },
  "ipv6-only": {
    parse: boolean,
    default: "false",
    doc: "Whether pods have IPv6 addresses only; then the sidecar's admin port is on `[::]`, else on `0.0.0.0`.",
  },
} as const satisfies Readonly<Record<string, ClusterKey>>;

type ClusterKeyName = keyof typeof CLUSTER_KEYS;

/**
 * Reads the settings of the cluster: the data of the ConfigMap `shimmy-config`, whose keys are those
 * of the annotations without what stands before the slash.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names every key refused.
 */
export function readInjectionConfig(data: unknown): InjectionConfig {
  if (!isObject(data)) throw refused(`expected keys and values, got ${shown(data)}`);
  const settings: Record<string, unknown> = {};
  const values = new Map<string, unknown>(
    Object.entries(CLUSTER_KEYS).map(([key, entry]) => [key, entry.parse(entry.default)]),
  );
  const problems: string[] = [];
  for (const [key, value] of Object.entries(data)) {
    try {
      if (typeof value !== "string") throw refused(`must be text, got ${shown(value)}`);
      const setting = CLUSTER_SETTINGS.get(key);
      if (setting !== undefined) settings[setting] = VOCABULARY[setting].parse(value);
      else values.set(key, requireClusterKey(key).parse(value));
    } catch (err) {
      problems.push(`${key}: ${messageOf(err)}`);
    }
  }
  if (problems.length > 0) throw refused(problems.join("; "));
  const valueOf = (key: ClusterKeyName): unknown => values.get(key);
  return Object.freeze({
    settings,
    runAsUser: valueOf("run-as-user") as InjectionConfig["runAsUser"],
    imagePullPolicy: valueOf("image-pull-policy") as InjectionConfig["imagePullPolicy"],
    runtimeClasses: valueOf("runtime-classes") as readonly string[],
    excludedNamespaces: valueOf("excluded-namespaces") as readonly string[],
    adminAddress: `${valueOf("ipv6-only") === true ? "[::]" : "0.0.0.0"}:${ADMIN_PORT}`,
    version: VERSION,
  });
}

/** Port of health and metrics in every pod. */
export const ADMIN_PORT = 14_790;

/** Where the sidecar serves topics over HTTP, on loopback. */
export const TOPICS_PORT = 14_791;

/** The name that a key of {@link VOCABULARY} has in the cluster's settings. */
export function clusterName(name: SettingName): string | undefined {
  const { key, places }: { key: string; places: readonly Place[] } = VOCABULARY[name];
  return places.includes("cluster") ? key.slice(key.indexOf("/") + 1) : undefined;
}

const CLUSTER_SETTINGS = new Map(
  (Object.keys(VOCABULARY) as SettingName[]).flatMap((name) => {
    const key = clusterName(name);
    return key === undefined ? [] : [[key, name] as const];
  }),
);

function requireClusterKey(key: string): ClusterKey {
  if (Object.hasOwn(CLUSTER_KEYS, key)) return CLUSTER_KEYS[key as ClusterKeyName];
  const known = [...CLUSTER_SETTINGS.keys(), ...Object.keys(CLUSTER_KEYS)];
  throw refused(`unknown key "${key}"${didYouMean(key, known)}`);
}
