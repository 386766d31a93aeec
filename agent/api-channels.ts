/**
 * Messages about channels, from version 3 of the protocol on: between the agent and each process
 * that attaches channels. docs/reference/channel-protocol.md shows them in order.
 *
 * A channel has *rings*. A ring is what one writer (producer or publisher) makes each time it comes:
 * a data region and a metadata region, with a *generation* that no other ring of the channel has,
 * later ones having larger numbers. Between a ring and a reader (consumer or subscriber) there is a
 * *link*, with a *number* that no other link of the channel has: the reader's own metadata region and
 * a doorbell. The agent passes regions on, and keeps them for who comes later; it maps none, and
 * keeps no duplicate of a doorbell.
 */
import type { ShimmyErrorCode } from "../common/errors.ts";
import type { TopicReason } from "../common/reasons.ts";
import type { PodIdentity, PodName } from "./api.ts";
import type { ChannelParameters, ChannelRequest } from "./channels/parameters.ts";

export type { ChannelParameters, ChannelRequest } from "./channels/parameters.ts";

/** Oldest version of the protocol that has channels. */
export const CHANNELS_PROTOCOL_VERSION = 3;

/** Producer and consumer are of lock-based channels, publisher and subscriber of lock-free ones. */
export type ChannelRole = "producer" | "consumer" | "publisher" | "subscriber";

/** Where a subscriber begins in a ring that it did not see begin. */
export type ChannelStart = "oldest" | "newest";

/** `standby`: takes over when the live one has gone; until then it is as if full, or empty. */
export type AttachmentState = "live" | "standby";

/** Kinds of region: `data` and who writes the metadata. */
export type RegionKind = "data" | "producer" | "consumer" | "global" | "local";

/** A channel as who attaches it is told. */
export interface ChannelInfo extends ChannelParameters {
  /** `namespace/name`. */
  readonly topic: string;
  /** Decimal number of 64 bits, in the header of each of its regions. */
  readonly id: string;
}

/** One link of an attachment. */
export interface ChannelLink {
  readonly generation: number;
  readonly number: number;
}

/**
 * First message of a process that attaches channels, in place of `hello`. An agent that has no
 * channels ends the connection with `SHIMMY_ERR_PROTOCOL`; the pod's sidecar is not affected.
 */
export interface ChannelsHelloMessage {
  readonly type: "channelsHello";
  readonly version: number;
  readonly pid: number;
  /** When given, checked against the pod whose socket this is. */
  readonly pod?: PodName;
}

/** Asks for a role in a channel; answered by `channelAttached` or `channelRefused`. */
export interface AttachChannelMessage {
  readonly type: "attachChannel";
  readonly request: number;
  /** `name`, of the pod's own namespace, or `namespace/name`. */
  readonly topic: string;
  readonly role: ChannelRole;
  readonly start: ChannelStart;
  /** Makes the channel with these if there is none, and the pod may. */
  readonly parameters?: ChannelRequest;
}

/**
 * Shows an attachment that outlived its connection to the agent; answered like `attachChannel`, with
 * an attachment that takes the place of the one shown. Regions are lodged again behind it.
 */
export interface ReattachChannelMessage {
  readonly type: "reattachChannel";
  readonly request: number;
  /** As `channelAttached` named it. */
  readonly attachment: string;
  readonly role: ChannelRole;
  readonly start: ChannelStart;
  readonly channel: ChannelInfo;
  /** Of the writer's ring, if it has one. */
  readonly generation?: number;
  /** Those whose doorbells have not hung up. */
  readonly links: readonly ChannelLink[];
}

/**
 * Lodges regions, one descriptor each, in their order: `data` and `producer` or `global` of the
 * writer's ring; or `consumer` or `local` of a link that `channelRing` offered.
 */
export interface LodgeRegionsMessage {
  readonly type: "lodgeRegions";
  readonly attachment: string;
  readonly generation: number;
  /** Of the link; not for a writer. */
  readonly number?: number;
  readonly regions: readonly RegionKind[];
}

/** A reader has read a ring whose writer is gone to its end. */
export interface GenerationFinishedMessage {
  readonly type: "generationFinished";
  readonly attachment: string;
  readonly generation: number;
}

/**
 * Sent by a writer: the doorbell of a link has hung up, or was closed here because the reader broke
 * the rules. A reader whose doorbell hangs up reads to the end instead, and says `generationFinished`.
 */
export interface LinkGoneMessage {
  readonly type: "linkGone";
  readonly attachment: string;
  readonly generation: number;
  readonly number: number;
}

/** Gives a role up. */
export interface DetachChannelMessage {
  readonly type: "detachChannel";
  readonly attachment: string;
}

/** What a process that attaches channels sends. */
export type ChannelClientMessage =
  | AttachChannelMessage
  | ReattachChannelMessage
  | LodgeRegionsMessage
  | GenerationFinishedMessage
  | LinkGoneMessage
  | DetachChannelMessage;

/** The role is taken. */
export interface ChannelAttachedMessage {
  readonly type: "channelAttached";
  readonly request: number;
  /** Names it from here on; kept for `reattachChannel`. */
  readonly attachment: string;
  readonly channel: ChannelInfo;
  readonly state: AttachmentState;
  /** Of a live writer: the generation of the ring that it is to make. */
  readonly generation?: number;
}

/** The role is not taken. */
export interface ChannelRefusedMessage {
  readonly type: "channelRefused";
  readonly request: number;
  readonly code: ShimmyErrorCode;
  /** With `SHIMMY_ERR_TOPIC_DENIED`. */
  readonly reason?: TopicReason;
  readonly message: string;
}

/** An attachment became live, or standby again. */
export interface ChannelStateMessage {
  readonly type: "channelState";
  readonly attachment: string;
  readonly state: AttachmentState;
  /** Of a writer that became live: the generation of the ring that it is to make. */
  readonly generation?: number;
}

/**
 * A ring that a reader is to read, with a descriptor for each of `regions`; answered by
 * `lodgeRegions` for this link. A consumer is offered one ring at a time, the oldest first.
 */
export interface ChannelRingMessage {
  readonly type: "channelRing";
  readonly attachment: string;
  readonly generation: number;
  readonly number: number;
  readonly writer: PodIdentity;
  /** Its writer is gone: nothing will be added, and there will be no doorbell. */
  readonly isEnded: boolean;
  readonly start: ChannelStart;
  /** `data`, `producer` or `global`, and `consumer` where there was a consumer before. */
  readonly regions: readonly RegionKind[];
  /** Number of that consumer's link. */
  readonly previous?: number;
}

/**
 * The other side of a link is there. Its first descriptor is the doorbell; the writer gets the
 * reader's region as well.
 */
export interface ChannelPeerMessage {
  readonly type: "channelPeer";
  readonly attachment: string;
  readonly generation: number;
  readonly number: number;
  readonly peer: PodIdentity;
  /** `consumer` or `local` for the writer; none for the reader. */
  readonly regions: readonly RegionKind[];
}

/**
 * The agent does not know the other side of a link any more: it may be dead, and the doorbell says so
 * too, or may have been told to leave. Who is told closes the doorbell.
 */
export interface ChannelPeerGoneMessage {
  readonly type: "channelPeerGone";
  readonly attachment: string;
  readonly generation: number;
  readonly number: number;
  /**
   * `false`, to readers only: the writer is gone, and what it published is still to be read, to the
   * end of the ring. `true`: the link is over; a reader unmaps the ring, and may be offered it again.
   */
  readonly isOver: boolean;
}

/** The attachment is over, by the agent's will: doorbells are closed and regions unmapped. */
export interface ChannelDetachedMessage {
  readonly type: "channelDetached";
  readonly attachment: string;
  readonly code: ShimmyErrorCode;
  readonly message: string;
}

/** What the agent sends to a process that attaches channels, besides `welcome` and `error`. */
export type ChannelAgentMessage =
  | ChannelAttachedMessage
  | ChannelRefusedMessage
  | ChannelStateMessage
  | ChannelRingMessage
  | ChannelPeerMessage
  | ChannelPeerGoneMessage
  | ChannelDetachedMessage;
