import type {
  FallbacksReply,
  HealthReply,
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
  readonly health: HealthReply;
  readonly pods: PodsReply["pods"];
  readonly streams: StreamsReply["streams"];
  readonly sessions: SessionsReply["sessions"];
  readonly fallbacks: FallbacksReply["fallbacks"];
  /** Exact totals, of the sidecars whose admin pages answer. */
  readonly traffic: readonly PodTraffic[];
}

/**
 * Asks the agent, and the sidecars it knows.
 *
 * @param adminPort - Of the sidecars, on the addresses of their pods.
 * @returns `undefined` when the agent does not answer.
 */
export async function takeSnapshot(
  socketPath: string,
  adminPort: number,
): Promise<TopSnapshot | undefined> {
  const [health, pods, streams, sessions, fallbacks] = await Promise.all(
    ["health", "pods", "streams", "sessions", "fallbacks"].map((view) =>
      getJson({ socketPath, path: `/v1/${view}` }),
    ),
  );
  if (pods === undefined || health === undefined) return undefined;
  const known = (pods as PodsReply).pods;
  return {
    takenAtMs: Date.now(),
    health: health as HealthReply,
    pods: known,
    streams: (streams as StreamsReply | undefined)?.streams ?? [],
    sessions: (sessions as SessionsReply | undefined)?.sessions ?? [],
    fallbacks: (fallbacks as FallbacksReply | undefined)?.fallbacks ?? [],
    traffic: await trafficOf(known, adminPort),
  };
}

async function trafficOf(pods: PodsReply["pods"], adminPort: number): Promise<PodTraffic[]> {
  const reachable = pods.filter(({ connected }) => connected);
  const all = await Promise.all(
    reachable.map(({ namespace, name, addresses: [address = ""] }) =>
      readTraffic(`${namespace}/${name}`, `http://${formatHost(address, adminPort)}`),
    ),
  );
  return all.filter((traffic) => traffic !== undefined);
}
