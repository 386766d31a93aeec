/**
 * Every `shimmy.io/…` and `config.shimmy.io/…` key: where it may stand, how it is read, what it
 * means. Validation, messages, the settings of the cluster, docs/reference/annotations.md and
 * `shimmy inject` all come from this one table.
 */
import { bytes, duration, oneOf } from "../common/env-parsers.ts";
import { TRANSPORT_KEY } from "../common/kubernetes/vocabulary.ts";
import { LOG_LEVELS } from "../common/log.ts";
import { parseUpstreams, TRANSPORT_CAPS, type TransportCap } from "../sidecar/upstreams.ts";
import {
  appAddress,
  appPorts,
  imageReference,
  publishedTopics,
  subscribedTopics,
} from "./key-parsers.ts";
import { quantity } from "./quantity.ts";
import { refused } from "./raw.ts";

/** Where a key can stand; `cluster` is the ConfigMap of the whole cluster. */
export const PLACES = [
  "pod annotation",
  "pod label",
  "workload annotation",
  "namespace annotation",
  "namespace label",
  "cluster",
] as const;

/** One of {@link PLACES}. */
export type Place = (typeof PLACES)[number];

/** One key that people may set. */
export interface VocabularyKey<T> {
  readonly key: string;
  readonly places: readonly Place[];
  /** Reads the value; throws with a message that says what was expected. */
  readonly parse: (text: string) => T;
  /** What holds when nobody sets it, in words; not for `parse`. */
  readonly unset: string;
  readonly example: string;
  /** One or two sentences for docs/reference/annotations.md. */
  readonly doc: string;
}

const POD: readonly Place[] = ["pod annotation", "workload annotation"];
const EVERYWHERE: readonly Place[] = [...POD, "namespace annotation", "cluster"];
const SWITCH = oneOf(["enabled", "disabled"]);

/** Keys that people set. */
export const VOCABULARY = {
  inject: {
    key: "shimmy.io/inject",
    places: ["pod label", "pod annotation", "workload annotation", "namespace label"],
    parse: SWITCH,
    unset: "no sidecar",
    example: "enabled",
    doc: "Whether pods get the sidecar. The nearest level wins: pod template, workload, namespace; on one level `disabled` wins.",
  },
  upstreams: {
    key: "shimmy.io/upstreams",
    places: POD,
    parse: parseUpstreams,
    unset: "none",
    example: "orders:9001, quotes.md:9002?port=http&protocol=grpc",
    doc: "Services that the pod calls, each on a local port of its own; the grammar is below.",
  },
  appPorts: {
    key: "shimmy.io/app-port",
    places: POD,
    parse: appPorts,
    unset:
      "every TCP port that the containers declare; if they declare none, the target ports of the pod's Services",
    example: "8080, metrics",
    doc: "Ports of the application that peers may reach, by number or by the name of a declared port.",
  },
  appAddress: {
    key: "shimmy.io/app-address",
    places: POD,
    parse: appAddress,
    unset: "the pod's own address",
    example: "127.0.0.1",
    doc: "Where the application listens. On a loopback address every peer looks local to it: mind what it allows to local clients.",
  },
  publish: {
    key: "shimmy.io/publish",
    places: POD,
    parse: publishedTopics,
    unset: "none",
    example: "prices, jobs",
    doc: "Topics that the pod publishes over HTTP: the sidecar serves topics on localhost:14791. A request only: roles are granted by SharedMemoryObjects.",
  },
  subscribe: {
    key: "shimmy.io/subscribe",
    places: POD,
    parse: subscribedTopics,
    unset: "none",
    example: "prices, shop/orders?push=http://localhost:8080/orders",
    doc: "Topics that the pod reads over HTTP, likewise. With `?push=URL` the sidecar sends each message to the application, with `?format=cloudevents&push=URL` as CloudEvents; the URL is on loopback.",
  },
  transport: {
    key: TRANSPORT_KEY,
    places: EVERYWHERE,
    parse: transportCap,
    unset: "auto",
    example: "tcp",
    doc: "Cap for all connections of the pod: `auto` and `shm` allow shared memory, `tcp` turns it off. A cap of the namespace or the cluster cannot be raised. `tcp` set on running pods, their namespace or the cluster has effect within seconds, for new connections.",
  },
  image: {
    key: "config.shimmy.io/image",
    places: EVERYWHERE,
    parse: imageReference,
    unset: "none: the cluster must name one",
    example: "shimmy:0.1.0",
    doc: "Image of the sidecar.",
  },
  nativeSidecar: {
    key: "config.shimmy.io/native-sidecar",
    places: EVERYWHERE,
    parse: SWITCH,
    unset: "enabled",
    example: "disabled",
    doc: "`disabled` makes the sidecar an ordinary container, for kubelets before 1.29. Then init containers cannot use upstreams, and pods that are to complete are refused.",
  },
  cpuRequest: {
    key: "config.shimmy.io/cpu-request",
    places: EVERYWHERE,
    parse: quantity,
    unset: "50m",
    example: "100m",
    doc: "CPU request of the sidecar.",
  },
  cpuLimit: {
    key: "config.shimmy.io/cpu-limit",
    places: EVERYWHERE,
    parse: quantity,
    unset: "none; 500m in a pod of class Guaranteed",
    example: "1",
    doc: "CPU limit of the sidecar. A throttled sidecar makes every connection slow.",
  },
  memoryRequest: {
    key: "config.shimmy.io/memory-request",
    places: EVERYWHERE,
    parse: quantity,
    unset: "32Mi and the ring budget",
    example: "96Mi",
    doc: "Memory request of the sidecar, rings included.",
  },
  memoryLimit: {
    key: "config.shimmy.io/memory-limit",
    places: EVERYWHERE,
    parse: quantity,
    unset: "128Mi and the ring budget",
    example: "256Mi",
    doc: "Memory limit of the sidecar, rings included: at least 64Mi and the ring budget.",
  },
  ringBudget: {
    key: "config.shimmy.io/ring-budget",
    places: EVERYWHERE,
    parse: bytes({ min: 1024 ** 2, max: 64 * 1024 ** 3 }),
    unset: "64Mi",
    example: "256Mi",
    doc: "Shared memory that the sidecar pays for, in all; beyond it rings do not grow and new connections go over TCP. Request and limit of memory follow it.",
  },
  logLevel: {
    key: "config.shimmy.io/log-level",
    places: EVERYWHERE,
    parse: oneOf(LOG_LEVELS),
    unset: "info",
    example: "debug",
    doc: `Least important log lines of the sidecar that are written: ${LOG_LEVELS.join(", ")}.`,
  },
  drainTimeoutMs: {
    key: "config.shimmy.io/drain-timeout",
    places: EVERYWHERE,
    parse: duration({ min: 0, max: 86_400_000 }),
    unset: "25s, or 2 s less than the pod's grace period if that is shorter",
    example: "10s",
    doc: "Time for open connections to end when the pod is stopped. On the pod or its workload it must be shorter than `terminationGracePeriodSeconds`; from elsewhere it is cut to fit.",
  },
} as const satisfies Readonly<Record<string, VocabularyKey<unknown>>>;

/** The settings by the name that code uses. */
export type SettingName = keyof typeof VOCABULARY;

/** What was set, each as its parser gave it. */
export type Settings = {
  readonly [K in SettingName]?: ReturnType<(typeof VOCABULARY)[K]["parse"]>;
};

/** Keys that are reserved for features that are not built yet, and what they will be for. */
export const NOT_BUILT: Readonly<Record<string, string>> = {
  "shimmy.io/app-protocol": "what the application's ports speak",
  "shimmy.io/direct": "the preload library that takes the sidecar out of the path",
  "shimmy.io/proxy-protocol": "a PROXY v2 header with the address of the client",
};

/** Keys that Shimmy writes itself, and what they say. */
export const WRITTEN = {
  status: {
    key: "shimmy.io/status",
    place: "pod annotation",
    doc: "JSON that says what was injected.",
  },
  injected: {
    key: "shimmy.io/injected",
    place: "pod label",
    doc: "`true` on a pod that has the sidecar, for selectors.",
  },
  skipped: {
    key: "shimmy.io/skipped",
    place: "pod annotation",
    doc: "Why a pod of a namespace that opted in has no sidecar; see reasons.md.",
  },
  carried: {
    key: "shimmy.io/carried",
    place: "pod annotation",
    doc: "The keys that were copied from the workload's metadata to its template, each with a hash of its value.",
  },
} as const satisfies Readonly<Record<string, { key: string; place: Place; doc: string }>>;

/** Whether a key is one of ours, known or not. */
export function isOurKey(key: string): boolean {
  const [prefix = "", ...name] = key.split("/");
  return name.length > 0 && (prefix === "shimmy.io" || prefix.endsWith(".shimmy.io"));
}

function transportCap(text: string): TransportCap {
  if (text === "rdma") throw refused("transport rdma is not built yet");
  return oneOf(TRANSPORT_CAPS)(text);
}
