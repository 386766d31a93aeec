/**
 * Replies of the HTTP sockets; docs/reference/agent-api.openapi.yaml describes them, and a test
 * holds real replies against it.
 *
 * The same paths exist on both sockets. On a pod's own socket they tell of that pod; on the
 * node-wide one of all pods.
 */
import type { ShimmyErrorCode } from "../common/errors.ts";
import type { FallbackReason } from "../common/reasons.ts";
import type { AttachmentState, ChannelInfo, ChannelRole, RegionKind } from "./api-channels.ts";
import type { Grant, PodIdentity, PodName, StreamReport, Transport } from "./api.ts";

/** `GET /v1/health`. */
export interface HealthReply {
  /** `degraded`: serving, from what was known before something went wrong. */
  readonly status: "ok" | "degraded";
  /** Of the package. */
  readonly version: string;
  readonly node: string;
  readonly uptimeSeconds: number;
  readonly catalog: {
    /** When the catalog in use was read; ISO 8601. */
    readonly loadedAt: string;
    readonly pods: number;
    readonly services: number;
    /** Why the file as it is now was refused; the catalog before it is in use. */
    readonly error?: string;
  };
  /** Where channels are on record. */
  readonly registry: {
    readonly kind: "memory" | "redis";
    /** Why it cannot be asked; channels that are in use go on. */
    readonly problem?: string;
  };
  /** Pods whose sockets could not be opened, and why. */
  readonly failedPods: readonly { readonly pod: string; readonly error: string }[];
}

/** A pod of this node, as `GET /v1/whoami` and `GET /v1/pods` show it. */
export interface PodReply extends PodIdentity {
  readonly injected: boolean;
  /** Whether its sidecar is connected. */
  readonly connected: boolean;
  /** Services it backs, as `namespace/name`. */
  readonly services: readonly string[];
  readonly appPorts: readonly number[];
  readonly sessions: number;
}

/** `GET /v1/whoami`; no `pod` on the node-wide socket. */
export interface WhoamiReply {
  readonly scope: "pod" | "node";
  readonly node: string;
  readonly pod?: PodReply;
}

/** `GET /v1/pods`. */
export interface PodsReply {
  readonly pods: readonly PodReply[];
}

/** Another pod, seen from `pod`. */
export interface PeerReply {
  /** UID of the pod that looks. */
  readonly pod: string;
  readonly peer: PodIdentity;
  readonly injected: boolean;
  /** How connections between the two travel, if there is a service to call. */
  readonly transport: Transport;
  readonly reason?: FallbackReason;
  /** What the peer may open at `pod`. */
  readonly accept: readonly Grant[];
  /** What `pod` may open at the peer. */
  readonly connect: readonly Grant[];
}

/** `GET /v1/peers`. */
export interface PeersReply {
  readonly peers: readonly PeerReply[];
}

/** A session between two pods. */
export interface SessionReply {
  readonly id: string;
  /** UIDs. */
  readonly initiator: string;
  readonly responder: string;
  /** ISO 8601; of an adopted one, when it was adopted. */
  readonly since: string;
  /** `half`: one side only has shown it since it reconnected. */
  readonly state: "open" | "half" | "revoked";
  /** What the initiator may open. */
  readonly initiatorGrants: readonly Grant[];
  /** What the responder may open. */
  readonly responderGrants: readonly Grant[];
}

/** `GET /v1/sessions`. */
export interface SessionsReply {
  readonly sessions: readonly SessionReply[];
}

/** `GET /v1/streams`: what the sidecars reported last. */
export interface StreamsReply {
  readonly streams: readonly (StreamReport & { readonly pod: string })[];
}

/** `GET /v1/fallbacks`: connections that went over TCP, counted since the sidecar started. */
export interface FallbacksReply {
  readonly fallbacks: readonly {
    readonly pod: string;
    readonly reason: FallbackReason;
    readonly count: number;
  }[];
}

/** A channel in use, as `GET /v1/channels` and `POST /v1/channels` show it. */
export interface ChannelSummary extends ChannelInfo {
  /** Who made it: a request over HTTP or a record, the first who attached, or its owner's declaration. */
  readonly origin: "request" | "attachment" | "declaration";
  readonly attachments: number;
  /** Shared memory lodged with the agent. */
  readonly lodgedBytes: number;
}

/** `GET /v1/channels`. */
export interface ChannelsReply {
  readonly channels: readonly ChannelSummary[];
}

/** One role of one process. */
export interface ChannelAttachmentReply extends PodName {
  /** UID. */
  readonly pod: string;
  /** As the kernel said; 0 when it cannot be seen. */
  readonly pid: number;
  readonly role: ChannelRole;
  readonly state: AttachmentState;
  /** ISO 8601. */
  readonly since: string;
}

/** A region of shared memory that is lodged. */
export interface RegionReply {
  readonly kind: RegionKind;
  /** Inode of its memfd: `ls -Li /proc/PID/fd` shows the same. */
  readonly id: string;
  readonly bytes: number;
  /** Of its ring. */
  readonly generation: number;
  /** Of its link. */
  readonly number?: number;
  /** UID of the pod that writes it; absent of a consumer that is gone. */
  readonly writer?: string;
  /** UIDs of the pods that have it. */
  readonly attachedBy: readonly string[];
}

/** What one writer made when it came. */
export interface RingReply {
  readonly generation: number;
  /** UID of its writer's pod; absent while a reader alone has shown it. */
  readonly writer?: string;
  /** Nothing will be added. */
  readonly isEnded: boolean;
  /** Whether its regions are lodged, so that they outlive the writer. */
  readonly isLodged: boolean;
  /** UIDs of the pods that read it now. */
  readonly readers: readonly string[];
}

/** `GET /v1/channels/NAMESPACE/NAME`. */
export interface ChannelReply extends Omit<ChannelSummary, "attachments"> {
  readonly attachments: readonly ChannelAttachmentReply[];
  /** Oldest first. */
  readonly rings: readonly RingReply[];
  readonly data: readonly RegionReply[];
  readonly metadata: readonly RegionReply[];
  /** The semaphores: words of metadata regions that the other side waits on. */
  readonly waitWords: readonly { readonly region: string; readonly word: string }[];
}

/** Body of every reply that is not a success. */
export interface ErrorReply {
  readonly code: ShimmyErrorCode;
  readonly message: string;
}
