import { foreignContainers, resourceOf } from "./containers.ts";
import { formatBytes, parseQuantity, quantityBytes } from "./quantity.ts";
import type { Fields } from "./raw.ts";
import type { Problem } from "./read-keys.ts";
import { VOCABULARY, type SettingName, type Settings } from "./vocabulary.ts";

/** @see https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ */
export type QosClass = "Guaranteed" | "Burstable" | "BestEffort";

/** Resources for the sidecar, or why those asked for cannot be. */
export interface ResourcePlan {
  /** Absent: the sidecar gets none. */
  readonly resources?: Fields;
  readonly problems: readonly Problem[];
}

/** What is set, besides the pod's own which is judged more strictly. */
export interface ResourceSettings {
  readonly own: Settings;
  readonly settings: Settings;
  readonly ringBudgetBytes: number;
}

const MIB = 1024 ** 2;
/** Memory of a sidecar without rings; idle it has 22 to 28 MiB (sidecar/small-heap.ts). */
const BASE_REQUEST_BYTES = 32 * MIB;
/** Room for sockets of many connections, which count as memory of the pod. */
const BASE_LIMIT_BYTES = 128 * MIB;
const LEAST_BASE_BYTES = 64 * MIB;
const DEFAULT_CPU_REQUEST = "50m";
const GUARANTEED_CPU = "500m";

const RESOURCE_KEYS = ["cpuRequest", "cpuLimit", "memoryRequest", "memoryLimit"] as const;

/**
 * Plans the sidecar's resources so that the pod's class stays as it is: a pod without any gets none,
 * and one of class Guaranteed gets limits that equal its requests.
 */
export function planResources(spec: Fields, given: ResourceSettings): ResourcePlan {
  const { own } = given;
  const none = reasonForNone(spec);
  if (none !== undefined) {
    const asked = RESOURCE_KEYS.filter((name) => own[name] !== undefined);
    return { problems: asked.map((name) => problem(name, none)) };
  }
  const isGuaranteed = qosClass(spec) === "Guaranteed";
  const memory = memoryPair(given);
  const cpu = cpuPair(given, isGuaranteed);
  const problems = [
    ...checkPair(own, ["cpuRequest", "cpuLimit"], isGuaranteed),
    ...checkPair(own, ["memoryRequest", "memoryLimit"], isGuaranteed),
    ...checkMemoryLimit(given, memory.limit),
  ];
  if (isGuaranteed) {
    const limits = { cpu: cpu.limit ?? cpu.request, memory: memory.limit };
    return { resources: { requests: { ...limits }, limits }, problems };
  }
  const requests = { cpu: cpu.request, memory: memory.request };
  const limits = {
    ...(cpu.limit === undefined ? {} : { cpu: cpu.limit }),
    memory: memory.limit,
  };
  return { resources: { requests, limits }, problems };
}

/** The class of a pod as its containers other than ours make it. */
export function qosClass(spec: Fields): QosClass {
  const holders = hasPodResources(spec)
    ? [spec]
    : foreignContainers(spec).map(({ container }) => container);
  const amounts = holders.flatMap((holder) =>
    ["cpu", "memory"].map((name) => {
      const limit = amount(resourceOf(holder, "limits", name));
      // A limit alone is the request too. https://kubernetes.io/docs/tasks/configure-pod-container/assign-cpu-resource/
      const request = amount(resourceOf(holder, "requests", name)) ?? limit;
      return { limit, request };
    }),
  );
  if (amounts.every(({ limit, request }) => limit === undefined && request === undefined)) {
    return "BestEffort";
  }
  return amounts.every(({ limit, request }) => limit !== undefined && limit === request)
    ? "Guaranteed"
    : "Burstable";
}

interface Pair {
  readonly request: string;
  readonly limit: string;
}

function memoryPair({ settings, ringBudgetBytes }: ResourceSettings): Pair {
  return settlePair(
    { request: settings.memoryRequest, limit: settings.memoryLimit },
    {
      request: formatBytes(BASE_REQUEST_BYTES + ringBudgetBytes),
      limit: formatBytes(BASE_LIMIT_BYTES + ringBudgetBytes),
    },
  );
}

function cpuPair(
  { settings: { cpuRequest, cpuLimit } }: ResourceSettings,
  isGuaranteed: boolean,
): { request: string; limit: string | undefined } {
  const preset = isGuaranteed ? (cpuRequest ?? GUARANTEED_CPU) : undefined;
  const limit = cpuLimit ?? preset;
  const request = cpuRequest ?? DEFAULT_CPU_REQUEST;
  if (limit === undefined) return { request, limit };
  return settlePair({ request: cpuRequest, limit: cpuLimit }, { request, limit });
}

/** What is set wins; a preset gives way so that the request is not above the limit. */
function settlePair(
  set: { request: string | undefined; limit: string | undefined },
  preset: Pair,
): Pair {
  const pair = { request: set.request ?? preset.request, limit: set.limit ?? preset.limit };
  if (parseQuantity(pair.request) <= parseQuantity(pair.limit)) return pair;
  return set.limit === undefined
    ? { ...pair, limit: pair.request }
    : { ...pair, request: pair.limit };
}

function checkPair(
  own: Settings,
  [requestName, limitName]: readonly [ResourceKey, ResourceKey],
  isGuaranteed: boolean,
): readonly Problem[] {
  const { [requestName]: request, [limitName]: limit } = own;
  if (request === undefined || limit === undefined) return [];
  if (parseQuantity(request) > parseQuantity(limit)) {
    return [problem(requestName, `${request} is above the limit, ${limit}`)];
  }
  if (isGuaranteed && parseQuantity(request) !== parseQuantity(limit)) {
    return [
      problem(
        requestName,
        `${request} must equal the limit, ${limit}: the pod is of class Guaranteed`,
      ),
    ];
  }
  return [];
}

type ResourceKey = (typeof RESOURCE_KEYS)[number];

function checkMemoryLimit(
  { settings, ringBudgetBytes }: ResourceSettings,
  limit: string,
): readonly Problem[] {
  const least = ringBudgetBytes + LEAST_BASE_BYTES;
  if (settings.memoryLimit === undefined || quantityBytes(limit) >= least) return [];
  const message = `${limit} is below ${formatBytes(least)}, the ring budget and ${formatBytes(LEAST_BASE_BYTES)}`;
  return [problem("memoryLimit", message)];
}

function reasonForNone(spec: Fields): string | undefined {
  if (hasPodResources(spec)) return "the pod has resources of its own, which the sidecar shares";
  if (qosClass(spec) !== "BestEffort") return undefined;
  return "the pod has no requests or limits, and the sidecar's would change its class BestEffort";
}

/** Requests or limits of the pod as a whole; containers' may not exceed them. */
function hasPodResources(spec: Fields): boolean {
  return (["requests", "limits"] as const).some((kind) =>
    ["cpu", "memory"].some((name) => resourceOf(spec, kind, name) !== undefined),
  );
}

function amount(text: string | undefined): bigint | undefined {
  const value = text === undefined ? 0n : parseQuantity(text);
  return value > 0n ? value : undefined;
}

function problem(name: SettingName, message: string): Problem {
  return { reason: "resources", message: `${VOCABULARY[name].key}: ${message}` };
}
