import type { FallbackReason, SessionEndReason } from "../../common/reasons.ts";
import type { OwnedFd } from "./owned-fd.ts";

/** Options for {@link Relay.start}. All are whole numbers. */
export interface RelayOptions {
  /** Native threads; a connection stays on one of them. 1 to 64. */
  readonly threads: number;
  /** How long a thread looks for work before it sleeps, in µs; 0 never spins. Up to 10,000. */
  readonly spinMicros: number;
  /** Memory for the rings this process writes, in bytes. At least 65,536. */
  readonly ringBudgetBytes: number;
  /** Largest ring of one stream, in bytes; a power of two from 16,384 to 2^30. */
  readonly maxRingBytes: number;
  /** Connections carried at a time, both directions together. At least 1. */
  readonly maxConnections: number;
  /** Streams one peer may have open with us. At least 1. */
  readonly maxStreamsPerPeer: number;
  /** How long a connection waits for a stream before it goes over TCP, in ms. At least 1. */
  readonly openTimeoutMs: number;
  /** How long a TCP connect may take, in ms. At least 1. */
  readonly connectTimeoutMs: number;
  /** When a connection without traffic is ended, in ms; 0 never. */
  readonly idleTimeoutMs: number;
}

/** One pod behind an upstream. */
export interface RelayEndpoint {
  /** Uid of the pod. */
  readonly pod: string;
  /** Numeric IPv4 or IPv6 address. */
  readonly address: string;
  /** Target port. */
  readonly port: number;
  /** `shm`: ask for a session and open streams; `tcp`: connect, and count `reason`. */
  readonly transport: "shm" | "tcp";
  /** Why there is no shared memory. Required with `tcp`, refused with `shm`. */
  readonly reason?: FallbackReason;
}

/** Where the connections of a listener go. */
export interface RelayUpstream {
  /** `namespace/name`. */
  readonly service: string;
  /** The Service's port, for display; the target port is each endpoint's. */
  readonly port: number;
  readonly endpoints: readonly RelayEndpoint[];
}

/** A service and target port that a peer may open. */
export interface RelayGrant {
  /** `namespace/name`. */
  readonly service: string;
  /** Target port. */
  readonly port: number;
}

/** Where inbound streams for one port of the application are delivered. */
export interface RelayDeliveryRule {
  readonly port: number;
  /** Numeric address on which the application listens. */
  readonly address: string;
}

/** The pod at the other end of a session, as the agent attested it. */
export interface RelayPeer {
  /** Uid of the pod. */
  readonly pod: string;
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
}

/** A session with another sidecar, as the agent hands it over. */
export interface RelaySessionInit {
  readonly id: string;
  /** Our end of the session's socketpair. The relay owns it from the call on. */
  readonly fd: OwnedFd;
  readonly side: "initiator" | "responder";
  readonly peer: RelayPeer;
  /** What the peer may open here. */
  readonly accept: readonly RelayGrant[];
}

/** Options for {@link Relay.listen}. */
export interface RelayListenOptions {
  /** Numeric IPv4 or IPv6 address. */
  readonly address: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
  readonly upstream: RelayUpstream;
}

/** A bound listener. */
export interface RelayListener {
  readonly id: number;
  readonly address: string;
  /** The port that was bound. */
  readonly port: number;
}

/** A session as the relay sees it now. */
export interface RelaySessionInfo {
  readonly id: string;
  /** Uid of the peer's pod. */
  readonly pod: string;
  readonly state: "greeting" | "ready";
  readonly streams: number;
  /** OPENs that wait for their answer. */
  readonly unanswered: number;
  /** Pairs of halves kept for reuse. */
  readonly pooledPairs: number;
}

/** A relayed connection as it is now. */
export interface RelayStreamInfo {
  readonly id: number;
  readonly direction: "outbound" | "inbound";
  readonly transport: "shm" | "tcp";
  /** `namespace/name`. */
  readonly service: string;
  /** Uid of the peer's pod. */
  readonly pod: string;
  readonly bytesToPeer: number;
  readonly bytesFromPeer: number;
  /** Capacity of the ring we write, in bytes; 0 over TCP. */
  readonly ringBytes: number;
  /** Capacity of the ring we read, in bytes; 0 over TCP. */
  readonly peerRingBytes: number;
  readonly ageMs: number;
}

/** What {@link Relay.drain} did to the connections there were. */
export interface RelayDrainResult {
  /** Ended by themselves. */
  readonly drained: number;
  /** Cut at the time-out. */
  readonly aborted: number;
}

/**
 * What a relay tells its owner. Called on the thread that started it, never from within a call
 * of the relay; a listener that throws is an uncaught exception.
 */
export interface RelayEvents {
  /** A connection waits for a session with this pod: answer with `addSession` or `failSession`. */
  onSessionNeeded(pod: string): void;
  /** The two sidecars have greeted each other: streams can be opened. */
  onSessionReady(id: string): void;
  /** The session is over; streams that were established go on. */
  onSessionEnded(id: string, reason: SessionEndReason): void;
}
