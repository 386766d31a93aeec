import type {
  AgentMessage,
  AttachmentState,
  ChannelInfo,
  ChannelRole,
  ChannelStart,
  PodIdentity,
  RegionKind,
} from "../api.ts";
import type { Fd } from "../native.ts";
import type { ChannelRecord } from "./record.ts";
import { topicKey, type Topic } from "./topic.ts";
import type { TopicSide } from "./topic-rules.ts";

/** A connected process that attaches channels. */
export interface ChannelMember {
  /** UID of its pod. */
  readonly pod: string;
  /** Of the process that connected, as the kernel said; 0 when it cannot be seen. */
  readonly pid: number;
  /** @returns `false` when it could not be sent because the connection is over or the kernel refused. */
  send(message: AgentMessage, fds?: readonly Fd[]): boolean;
}

/** A region of shared memory that a client lodged. It is kept and passed on, and never mapped. */
export interface LodgedRegion {
  readonly kind: RegionKind;
  readonly fd: Fd;
  /** Of the file. */
  readonly bytes: number;
  /** Its inode. */
  readonly id: string;
}

/** What a role does with a channel, and with which kind of it. */
export const ROLES = {
  producer: { side: "writer", kind: "lock", region: "producer" },
  consumer: { side: "reader", kind: "lock", region: "consumer" },
  publisher: { side: "writer", kind: "lockfree", region: "global" },
  subscriber: { side: "reader", kind: "lockfree", region: "local" },
} as const satisfies Record<
  ChannelRole,
  { side: TopicSide; kind: "lock" | "lockfree"; region: RegionKind }
>;

/** One role of one process in a channel. */
export interface Attachment {
  readonly id: string;
  readonly member: ChannelMember;
  readonly pod: PodIdentity;
  readonly role: ChannelRole;
  readonly start: ChannelStart;
  readonly since: Date;
  state: AttachmentState;
  /** Of a reader: the rings that it has read to their ends. */
  readonly finished: Set<number>;
  /** Of a reader: how often each ring was offered to it. */
  readonly offers: Map<number, number>;
}

/**
 * Between a ring and a reader.
 *
 *   offered  the reader has the ring's regions, and is to lodge its own
 *   joined   both sides were introduced
 *   claimed  one side alone has shown it after a restart of the agent
 */
export interface Link {
  readonly number: number;
  /** `undefined`: claimed by the writer alone. */
  reader: Attachment | undefined;
  region: LodgedRegion | undefined;
  state: "offered" | "joined" | "claimed";
}

/** What one writer made when it came. */
export interface Ring {
  readonly generation: number;
  readonly since: Date;
  /** `undefined`: claimed by a reader alone. */
  pod: PodIdentity | undefined;
  /** Its writer; `undefined` when that is gone. */
  writer: Attachment | undefined;
  /** Data and metadata; none before they are lodged. */
  regions: readonly LodgedRegion[];
  readonly links: Map<number, Link>;
  /** Lock-based: the metadata of the consumer that was there before. */
  predecessor: { readonly number: number; readonly region: LodgedRegion } | undefined;
  /** When its writer went; by the broker's clock. */
  endedAt: number | undefined;
  /** Lock-based: a consumer has read it to its end. */
  isFinished: boolean;
}

/** Who made a channel: a request over HTTP, the first who attached, or a declaration of its owner. */
export type ChannelOrigin = "request" | "attachment" | "declaration";

const isWriter = ({ role }: Attachment): boolean => ROLES[role].side === "writer";

/**
 * The agent's record of a channel in use: who has attached it, its rings and links. It decides
 * nothing and sends nothing.
 *
 *   I1  generations and numbers only grow, also over a restart of the agent: they begin at the time
 *   I2  every descriptor held here is closed by {@link Channel.close} at the latest
 *   I3  what clients claim does not move how far they may claim: only what was given out here does, or
 *       a reader could use up the numbers there are
 */
export class Channel {
  readonly record: ChannelRecord;
  readonly origin: ChannelOrigin;
  /** UID of the pod whose quota it counts for; empty for an operator; none of what nobody made here. */
  readonly maker: string | undefined;
  /** Since when this agent knows it; by the broker's clock. */
  readonly knownAt: number;
  /** Rings, oldest first. */
  readonly rings: Ring[] = [];
  /** In the order in which they came. */
  readonly attachments: Attachment[] = [];
  /** Since when nobody has attached it; by the broker's clock. */
  emptySince: number | undefined;
  #lastGeneration: number;
  #lastNumber: number;
  #largestPlausible: number;

  constructor(
    record: ChannelRecord,
    {
      origin,
      maker,
      epoch,
      knownAt,
    }: { origin: ChannelOrigin; maker: string | undefined; epoch: number; knownAt: number },
  ) {
    this.record = record;
    this.origin = origin;
    this.maker = maker;
    this.knownAt = knownAt;
    this.#lastGeneration = epoch;
    this.#lastNumber = epoch;
    this.#largestPlausible = epoch + MAX_AHEAD;
  }

  get topic(): Topic {
    return this.record.topic;
  }

  get key(): string {
    return topicKey(this.record.topic);
  }

  get isLockBased(): boolean {
    return this.record.parameters.kind === "lock";
  }

  /** As clients are told of it. */
  get info(): ChannelInfo {
    return { topic: this.key, id: this.record.id, ...this.record.parameters };
  }

  get writers(): Attachment[] {
    return this.attachments.filter(isWriter);
  }

  get readers(): Attachment[] {
    return this.attachments.filter((each) => !isWriter(each));
  }

  /** Every region held, with the UID of the pod it counts for. */
  get lodged(): { readonly pod: string; readonly region: LodgedRegion; readonly ring: Ring }[] {
    return this.rings.flatMap((ring) => {
      const own = ring.regions.map((region) => ({ pod: ring.pod?.uid ?? "", region, ring }));
      const links = [...ring.links.values()].flatMap(({ region, reader }) =>
        region === undefined ? [] : [{ pod: reader?.pod.uid ?? "", region, ring }],
      );
      const before = ring.predecessor?.region;
      return [
        ...own,
        ...links,
        ...(before === undefined ? [] : [{ pod: "", region: before, ring }]),
      ];
    });
  }

  nextNumber(): number {
    this.#largestPlausible++;
    return ++this.#lastNumber;
  }

  /** Whether a generation or number is one that could have been given out before (I1, I3). */
  isPlausible(count: number): boolean {
    return count > 0 && count <= this.#largestPlausible;
  }

  /** Makes a ring; one of a generation that was claimed takes its place in the order. */
  addRing(writer: Attachment | undefined, claimed?: number): Ring {
    if (claimed === undefined) this.#largestPlausible++;
    const generation = claimed ?? this.#lastGeneration + 1;
    this.#lastGeneration = Math.max(this.#lastGeneration, generation);
    const ring: Ring = {
      generation,
      since: new Date(),
      pod: writer?.pod,
      writer,
      regions: [],
      links: new Map(),
      predecessor: undefined,
      endedAt: undefined,
      isFinished: false,
    };
    this.rings.push(ring);
    this.rings.sort((a, b) => a.generation - b.generation);
    return ring;
  }

  addLink(ring: Ring, link: Link): void {
    this.#lastNumber = Math.max(this.#lastNumber, link.number);
    ring.links.set(link.number, link);
  }

  ring(generation: number): Ring | undefined {
    return this.rings.find((ring) => ring.generation === generation);
  }

  /** The ring that an attachment writes. */
  ringOf(writer: Attachment): Ring | undefined {
    return this.rings.find((ring) => ring.writer === writer);
  }

  /** The links of a reader. */
  linksOf(reader: Attachment): { ring: Ring; link: Link }[] {
    return this.rings.flatMap((ring) =>
      [...ring.links.values()]
        .filter((link) => link.reader === reader)
        .map((link) => ({ ring, link })),
    );
  }

  /** Lets go of a link; what a consumer leaves in a ring is kept for the one after it. */
  removeLink(ring: Ring, link: Link): void {
    ring.links.delete(link.number);
    const { region } = link;
    if (region === undefined) return;
    const before = ring.predecessor;
    if (this.isLockBased && link.number > (before?.number ?? 0)) {
      before?.region.fd.close();
      ring.predecessor = { number: link.number, region };
    } else {
      region.fd.close();
    }
  }

  /** Lets go of a ring and all that is lodged of it. */
  removeRing(ring: Ring): void {
    this.rings.splice(this.rings.indexOf(ring), 1);
    for (const { fd } of ring.regions) fd.close();
    ring.regions = [];
    for (const { region } of ring.links.values()) region?.fd.close();
    ring.links.clear();
    ring.predecessor?.region.fd.close();
    ring.predecessor = undefined;
  }

  /** Lets go of everything (I2). */
  close(): void {
    for (const ring of [...this.rings]) this.removeRing(ring);
    this.attachments.length = 0;
  }
}

/** How far the claims of a client may be ahead of what was given out here. */
const MAX_AHEAD = 1_000_000;
