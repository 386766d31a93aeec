import type {
  FallbacksReply,
  HealthReply,
  PodReply,
  PodsReply,
  SessionsReply,
  StreamsReply,
} from "../../agent/api.ts";
import { formatHost, getJson } from "../http.ts";
import { readTraffic, type PodTraffic } from "../traffic.ts";

/** What `shimmy top` shows, and `--json` prints. */
export interface TopSnapshot {
  /** When it was taken, in milliseconds since 1970. */
  readonly takenAtMs: number;
  /** One for each node that was asked. */
  readonly agents: readonly HealthReply[];
  readonly pods: PodsReply["pods"];
  readonly streams: StreamsReply["streams"];
  readonly sessions: SessionsReply["sessions"];
  readonly fallbacks: FallbacksReply["fallbacks"];
  /** Exact totals, of the sidecars whose admin pages answer. */
  readonly traffic: readonly PodTraffic[];
  /** `namespace/name` of every pod that is known, by UID; more than are shown. */
  readonly names: Readonly<Record<string, string>>;
}

/** What an agent can be asked for. */
export type AgentView = "health" | "pods" | "streams" | "sessions" | "fallbacks";

/** One agent and the sidecars of its node, however they are reached. */
export interface NodeSource {
  /** A view of the agent; `undefined` when it does not answer. */
  view(name: AgentView): Promise<unknown>;
  /** The counters of a pod's sidecar; `undefined` when it does not answer. */
  traffic(pod: PodReply): Promise<PodTraffic | undefined>;
}

/** The agent behind a Unix socket, and sidecars on the addresses of their pods. */
export function socketSource(socketPath: string, adminPort: number): NodeSource {
  return {
    view: (name) => getJson({ socketPath, path: `/v1/${name}` }),
    traffic: ({ namespace, name, addresses: [address = ""] }) =>
      readTraffic(`${namespace}/${name}`, `http://${formatHost(address, adminPort)}`),
  };
}

/** Sidecars that are asked at once. */
const AT_ONCE = 16;

/**
 * Asks an agent, and the sidecars it knows.
 *
 * @param wants - Which pods are shown. @defaultValue all
 * @returns `undefined` when the agent does not answer.
 */
export async function takeSnapshot(
  source: NodeSource,
  wants: (pod: PodReply) => boolean = () => true,
): Promise<TopSnapshot | undefined> {
  const [health, all, streams, sessions, fallbacks] = await Promise.all(
    (["health", "pods", "streams", "sessions", "fallbacks"] as const).map((view) =>
      source.view(view),
    ),
  );
  if (all === undefined || health === undefined) return undefined;
  const known = (all as PodsReply).pods;
  const pods = known.filter(wants);
  const shown = new Set(pods.map(({ uid }) => uid));
  return {
    takenAtMs: Date.now(),
    agents: [health as HealthReply],
    pods,
    streams: ((streams as StreamsReply | undefined)?.streams ?? []).filter(({ pod }) =>
      shown.has(pod),
    ),
    sessions: ((sessions as SessionsReply | undefined)?.sessions ?? []).filter(
      ({ initiator, responder }) => shown.has(initiator) || shown.has(responder),
    ),
    fallbacks: ((fallbacks as FallbacksReply | undefined)?.fallbacks ?? []).filter(({ pod }) =>
      shown.has(pod),
    ),
    traffic: await trafficOf(source, pods),
    names: Object.fromEntries(
      known.map(({ uid, namespace, name }) => [uid, `${namespace}/${name}`]),
    ),
  };
}

/** Puts the snapshots of several nodes together. */
export function mergeSnapshots(snapshots: readonly TopSnapshot[]): TopSnapshot {
  return {
    takenAtMs: Math.max(...snapshots.map(({ takenAtMs }) => takenAtMs)),
    agents: snapshots.flatMap(({ agents }) => agents),
    pods: snapshots.flatMap(({ pods }) => pods),
    streams: snapshots.flatMap(({ streams }) => streams),
    sessions: snapshots.flatMap(({ sessions }) => sessions),
    fallbacks: snapshots.flatMap(({ fallbacks }) => fallbacks),
    traffic: snapshots.flatMap(({ traffic }) => traffic),
    names: Object.assign({}, ...snapshots.map(({ names }) => names)) as Record<string, string>,
  };
}

async function trafficOf(source: NodeSource, pods: readonly PodReply[]): Promise<PodTraffic[]> {
  const waiting = pods.filter(({ connected }) => connected).values();
  const traffic: PodTraffic[] = [];
  const work = async (): Promise<void> => {
    for (const pod of waiting) {
      const each = await source.traffic(pod);
      if (each !== undefined) traffic.push(each);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return traffic.toSorted((a, b) => a.pod.localeCompare(b.pod));
}
