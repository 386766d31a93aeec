/**
 * The agent's contract: all that a sidecar or the command line may know of it.
 *
 * A pod has two sockets. `api.sock` speaks HTTP (docs/reference/agent-api.openapi.yaml); `fd.sock`
 * is a SOCK_SEQPACKET socket whose records are one JSON message each, some with descriptors. Who says
 * `hello` is the pod's sidecar, who says `channelsHello` one of its processes that attach channels.
 * The messages are below and in api-channels.ts, their schemas in api-schemas.ts, their parser in api-parse.ts.
 *
 * A message of an unknown type, too big, too deep or not of its schema ends the connection. Unknown
 * fields are dropped, so that a newer peer may add one; everything else that changes the meaning of
 * a message raises {@link PROTOCOL_VERSION}.
 */
import { join } from "node:path";

import type { ShimmyErrorCode } from "../common/errors.ts";
import type { FallbackReason, SessionEndReason } from "../common/reasons.ts";
import type {
  ChannelAgentMessage,
  ChannelClientMessage,
  ChannelsHelloMessage,
} from "./api-channels.ts";

export { encodeMessage, parseAgentMessage, parseClientMessage } from "./api-parse.ts";
export { EndpointsCollector, splitEndpoints, toVersion1 } from "./api-endpoints.ts";
export * from "./api-channels.ts";
export type * from "./api-rest.ts";
export { ABSTRACT_AGENT_DIR, ABSTRACT_FD_SOCKET } from "./api-sockets.ts";

/**
 * Newest version of the messages this build speaks.
 *
 *   1  endpoints of a service have the same target ports, and one transport each
 *   2  {@link ServiceEndpoint.ports}, {@link ServiceEndpoints.problem}
 *   3  channels, see api-channels.ts
 */
export const PROTOCOL_VERSION = 3;
/** Oldest version of the messages this build speaks. */
export const MIN_PROTOCOL_VERSION = 1;

/** Name of a pod's HTTP socket in its directory. */
export const API_SOCKET = "api.sock";
/** Name of a pod's message socket in its directory. */
export const FD_SOCKET = "fd.sock";
/** Name of the node-wide HTTP socket in the runtime directory; for root and the agent's own user. */
export const ADMIN_SOCKET = "agent.sock";

/** The directory with a pod's sockets. */
export function podDirectory(runtimeDir: string, { namespace, name }: PodName): string {
  return join(runtimeDir, "pods", namespace, name);
}

/** What names a pod to people. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

/** A pod as the agent attests it; never taken from what the pod says of itself. */
export interface PodIdentity extends PodName {
  readonly uid: string;
  readonly node: string;
  readonly addresses: readonly string[];
}

/** Leave to open connections to `port` (the target port) of a pod, because it backs `service`. */
export interface Grant {
  /** `namespace/name`. */
  readonly service: string;
  readonly port: number;
}

/** The pod that asked for a session is its initiator; stream ids are odd on its side. */
export type SessionSide = "initiator" | "responder";

/** How a connection travels. */
export type Transport = "shm" | "tcp";

/** First message of a connection, within {@link HELLO_TIMEOUT_MS}. */
export interface HelloMessage {
  readonly type: "hello";
  readonly version: number;
  /** Checked against the pod whose socket this is. */
  readonly pod: PodName;
  readonly pid: number;
  readonly capabilities: { readonly fdPassing: boolean };
}

/** Replaces the list of services whose endpoints the client wants; answered by `endpoints`. */
export interface WatchMessage {
  readonly type: "watch";
  readonly services: readonly string[];
}

/** Asks for the session with a pod; answered by `session` or `sessionRefused` with the same number. */
export interface OpenSessionMessage {
  readonly type: "openSession";
  readonly request: number;
  /** UID of the pod. */
  readonly pod: string;
}

/**
 * Shows a session that outlived its connection to the agent, with a duplicate of its socket.
 *
 * After a new connection every session is adopted before the first `openSession`. The answer is
 * `grants`, after a `revoke` of what is not granted any more; or `sessionClosed`.
 */
export interface AdoptMessage {
  readonly type: "adopt";
  readonly session: string;
  /** UID of the pod at the other end. */
  readonly peer: string;
  readonly side: SessionSide;
  /** The grants it has, of either direction; those that policy does not give any more are revoked. */
  readonly held: readonly Grant[];
}

/** Totals of the streams and relayed connections with one peer for one service. */
export interface StreamReport {
  /** UID of the peer's pod; of a plain TCP destination its address. */
  readonly peer: string;
  readonly service: string;
  readonly transport: Transport;
  readonly direction: "in" | "out";
  /** Open now. */
  readonly open: number;
  /** Opened since the sidecar started. */
  readonly opened: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** What the sidecar sees; sent every {@link REPORT_INTERVAL_MS}. Counters run from its start. */
export interface ReportMessage {
  readonly type: "report";
  readonly streams: readonly StreamReport[];
  readonly fallbacks: Readonly<Partial<Record<FallbackReason, number>>>;
  /** Ids of the sessions it holds. One that only one side reports is closed after 30 s. */
  readonly sessions: readonly string[];
}

/** Tells that a session is over. */
export interface SessionEndedMessage {
  readonly type: "sessionEnded";
  readonly session: string;
  readonly reason: SessionEndReason;
}

/** What a client sends. */
export type ClientMessage =
  | HelloMessage
  | WatchMessage
  | OpenSessionMessage
  | AdoptMessage
  | ReportMessage
  | SessionEndedMessage
  | ChannelsHelloMessage
  | ChannelClientMessage;

/** Answer to `hello`; sent again when what it says changes. */
export interface WelcomeMessage {
  readonly type: "welcome";
  /** The version both sides speak from here on: the lower of the two. */
  readonly version: number;
  readonly pod: PodIdentity;
  /** Ports the pod's application may be reached at. */
  readonly appPorts: readonly number[];
  readonly appAddress: string;
}

/** One port of a service. */
export interface ServicePort {
  /** Empty when the service does not name it. */
  readonly name: string;
  readonly port: number;
  /** Of the endpoints that do not say otherwise. */
  readonly targetPort: number;
}

/** One port of a service at one endpoint. */
export interface EndpointPort {
  /** Port of the service. */
  readonly port: number;
  readonly targetPort: number;
  readonly transport: Transport;
  /** Present exactly when `transport` is `tcp`. */
  readonly reason?: FallbackReason;
}

/** One pod behind a service, and how the watching pod is to reach it. */
export interface ServiceEndpoint {
  /** UID; of what is no pod, something else that tells it from others. */
  readonly pod: string;
  readonly address: string;
  readonly node: string;
  readonly injected: boolean;
  readonly transport: Transport;
  /** Present exactly when `transport` is `tcp`. */
  readonly reason?: FallbackReason;
  /**
   * The ports of the service that can be called here, when they are not all of them or do not all
   * have its target port and this endpoint's transport. Not sent in version 1.
   */
  readonly ports?: readonly EndpointPort[];
}

/** A service with all its endpoints; one that does not exist has neither ports nor endpoints. */
export interface ServiceEndpoints {
  readonly service: string;
  readonly ports: readonly ServicePort[];
  readonly endpoints: readonly ServiceEndpoint[];
  /** Why nothing can be called, in a sentence, where that is known. Not sent in version 1. */
  readonly problem?: string;
  /** Further endpoints of this service follow in the next message. See {@link EndpointsCollector}. */
  readonly more?: true;
}

/** State of the watched services: all of them after `watch`, later those that changed. */
export interface EndpointsMessage {
  readonly type: "endpoints";
  readonly services: readonly ServiceEndpoints[];
}

/**
 * A session with a peer, and this side's end of its socket.
 *
 * Without a descriptor it answers an `openSession` for a pod with which the client already has
 * the session named.
 */
export interface SessionMessage {
  readonly type: "session";
  /** Of the `openSession` answered; absent at the responder. */
  readonly request?: number;
  readonly session: string;
  readonly side: SessionSide;
  readonly peer: PodIdentity;
  /** What the peer may open here. */
  readonly accept: readonly Grant[];
  /** What may be opened at the peer. */
  readonly connect: readonly Grant[];
}

/** There is no session; connections go over TCP with this reason. */
export interface SessionRefusedMessage {
  readonly type: "sessionRefused";
  readonly request: number;
  readonly pod: string;
  readonly reason: FallbackReason;
  readonly message: string;
}

/** The grants of a session as they are from now on. */
export interface GrantsMessage {
  readonly type: "grants";
  readonly session: string;
  readonly accept: readonly Grant[];
  readonly connect: readonly Grant[];
}

/**
 * Grants taken back: streams under them, of either direction, are reset.
 *
 * `grants` follows when others are left, else the session is shut down within
 * {@link REVOKE_GRACE_MS}.
 */
export interface RevokeMessage {
  readonly type: "revoke";
  readonly session: string;
  readonly grants: readonly Grant[];
}

/** The session is over; its streams go on until they end unless a `revoke` came before. */
export interface SessionClosedMessage {
  readonly type: "sessionClosed";
  readonly session: string;
}

/** Why the agent closes the connection. */
export interface ErrorMessage {
  readonly type: "error";
  readonly code: ShimmyErrorCode;
  readonly message: string;
}

/** What the agent sends. */
export type AgentMessage =
  | WelcomeMessage
  | EndpointsMessage
  | SessionMessage
  | SessionRefusedMessage
  | GrantsMessage
  | RevokeMessage
  | SessionClosedMessage
  | ErrorMessage
  | ChannelAgentMessage;

/** Time between two reports of a sidecar, in milliseconds. */
export const REPORT_INTERVAL_MS = 2000;
/** Time a client has for its `hello`, in milliseconds. */
export const HELLO_TIMEOUT_MS = 5000;
/** Time between `revoke` and the shutdown of a session without grants, in milliseconds. */
export const REVOKE_GRACE_MS = 1000;
