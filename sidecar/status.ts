import type { PodIdentity } from "../agent/api.ts";
import type { EndReason, FallbackReason, SessionEndReason } from "../common/reasons.ts";
import type {
  RelayEndpoint,
  RelayListener,
  RelaySessionInfo,
  RelayStreamInfo,
} from "../shm-core/lib/relay.ts";
import type { AgentStatus } from "./agent-client.ts";
import type { PodReference } from "./env.ts";
import type { HeldSession } from "./session-keeper.ts";
import type { TransportCap, UpstreamProtocol } from "./upstreams.ts";

/** `GET /healthz`: the process answers. */
export interface HealthReply {
  readonly status: "ok";
}

/** `GET /readyz`; status 503 while `ready` is false. */
export interface ReadyReply {
  readonly ready: boolean;
  /** Why it is not. */
  readonly reason?: string;
}

/** An upstream, as `GET /v1/status` shows it. */
export interface UpstreamReply {
  /** `namespace/name`. */
  readonly service: string;
  readonly localPort: number;
  readonly protocol: UpstreamProtocol;
  readonly transport: TransportCap;
  readonly listeners: readonly RelayListener[];
  readonly endpoints: readonly RelayEndpoint[];
  /** Why connections are refused. */
  readonly problem?: string;
}

/** `GET /v1/status`. */
export interface StatusReply extends ReadyReply {
  readonly version: string;
  readonly pid: number;
  /** As configured, until the agent has said who we are. */
  readonly pod: PodReference | PodIdentity;
  readonly uptimeSeconds: number;
  readonly draining: boolean;
  readonly agent: AgentStatus;
  readonly upstreams: readonly UpstreamReply[];
  readonly sessions: number;
  readonly ringBudgetBytes: number;
  /** Of the relay, by the names of shm-core/relay/counters.h. */
  readonly counters: Readonly<Record<string, number>>;
  readonly fallbacks: Readonly<Record<FallbackReason, number>>;
  readonly ends: Readonly<Record<EndReason, number>>;
  readonly sessionEnds: Readonly<Record<SessionEndReason, number>>;
}

/** `GET /v1/streams`; `?limit=N` from 1 to 10,000, else 1,000. */
export interface StreamsReply {
  /** Oldest first. */
  readonly streams: readonly RelayStreamInfo[];
  /** How many there are, shown or not. */
  readonly open: number;
}

/** A session, as `GET /v1/sessions` shows it. */
export interface SessionReply extends HeldSession {
  /** Absent while the relay takes it over. */
  readonly relay?: Omit<RelaySessionInfo, "id" | "pod">;
}

/** `GET /v1/sessions`. */
export interface SessionsReply {
  readonly sessions: readonly SessionReply[];
}
