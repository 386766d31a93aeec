import { ShimmyError } from "../common/errors.ts";
import { VERSION } from "../common/version.ts";
import type { AdminReply, AdminRoute } from "../common/admin-server.ts";
import type { MetricsSnapshot } from "./metric-definitions.ts";
import { SidecarMetrics } from "./metrics.ts";
import type { Sidecar } from "./sidecar.ts";
import type {
  HealthReply,
  ReadyReply,
  SessionsReply,
  StatusReply,
  StreamsReply,
  UpstreamReply,
} from "./status.ts";
import type { UpstreamState } from "./upstream-set.ts";

const DEFAULT_STREAMS = 1000;
const MAX_STREAMS = 10_000;

/** The paths of the admin address. */
export function createRoutes(sidecar: Sidecar): Readonly<Record<string, AdminRoute>> {
  const metrics = new SidecarMetrics(() => takeSnapshot(sidecar));
  return {
    "/healthz": () => json({ status: "ok" } satisfies HealthReply),
    "/readyz": () => {
      const reply = readiness(sidecar);
      return { ...json(reply), status: reply.ready ? 200 : 503 };
    },
    "/metrics": async () => ({ contentType: metrics.contentType, body: await metrics.text() }),
    "/v1/status": () => json(statusOf(sidecar)),
    "/v1/streams": (query) => json(streamsOf(sidecar, query)),
    "/v1/sessions": () => json(sessionsOf(sidecar)),
  };
}

/** Everything about a sidecar in short, as `GET /v1/status` answers. */
export function statusOf(sidecar: Sidecar): StatusReply {
  const { config, relay, agent, sessions, upstreams, identity, uptimeMs, isDraining } = sidecar;
  const { values, fallbacks, ends } = relay.counters();
  return {
    ...readiness(sidecar),
    version: VERSION,
    pid: process.pid,
    pod: identity ?? config.pod,
    uptimeSeconds: Math.floor(uptimeMs / 1000),
    draining: isDraining,
    agent: agent.status,
    upstreams: upstreams.states().map(describeUpstream),
    sessions: sessions.sessions().length,
    ringBudgetBytes: config.ringBudgetBytes,
    counters: Object.fromEntries(values),
    fallbacks,
    ends,
    sessionEnds: sessions.ends,
  };
}

function takeSnapshot(sidecar: Sidecar): MetricsSnapshot {
  const { config, relay, agent, sessions, upstreams } = sidecar;
  const endpoints = upstreams.states().flatMap(({ current }) => current.table.endpoints);
  const shm = endpoints.filter(({ transport }) => transport === "shm").length;
  return {
    relay: relay.counters(),
    sessionEnds: sessions.ends,
    ringBudgetBytes: config.ringBudgetBytes,
    agentConnected: agent.status.connected,
    agentConnects: agent.status.connects,
    isReady: sidecar.notReadyReason === undefined,
    topics: sidecar.topicCounters,
    endpoints: { shm, tcp: endpoints.length - shm },
  };
}

function readiness({ notReadyReason: reason }: Sidecar): ReadyReply {
  return reason === undefined ? { ready: true } : { ready: false, reason };
}

function describeUpstream({ upstream, listeners, current }: UpstreamState): UpstreamReply {
  const { service, localPort, protocol, transport } = upstream;
  const { table, problem } = current;
  return {
    service,
    localPort,
    protocol,
    transport,
    listeners,
    endpoints: table.endpoints,
    ...(problem === undefined ? {} : { problem }),
  };
}

function streamsOf({ relay }: Sidecar, query: URLSearchParams): StreamsReply {
  const { values } = relay.counters();
  return {
    streams: relay.streams(parseLimit(query.get("limit"))),
    open: (values.get("active_shm") ?? 0) + (values.get("active_tcp") ?? 0),
  };
}

function sessionsOf({ relay, sessions }: Sidecar): SessionsReply {
  const byId = new Map(
    relay
      .sessions()
      .map(({ id, state, streams, unanswered, pooledPairs }) => [
        id,
        { state, streams, unanswered, pooledPairs },
      ]),
  );
  return {
    sessions: sessions.sessions().map((session) => {
      const known = byId.get(session.id);
      return known === undefined ? session : { ...session, relay: known };
    }),
  };
}

function parseLimit(text: string | null): number {
  if (text === null) return DEFAULT_STREAMS;
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= MAX_STREAMS) return limit;
  throw new ShimmyError(
    "SHIMMY_ERR_INVALID_OPTION",
    `limit must be from 1 to ${MAX_STREAMS}, got ${JSON.stringify(text.slice(0, 40))}`,
  );
}

function json(value: unknown): AdminReply {
  return { body: `${JSON.stringify(value)}\n` };
}
