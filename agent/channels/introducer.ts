// Brings the two sides of channels together.
//
//   I1  of a lock-based channel one consumer at a time is offered a ring: the oldest that is not read
//       to its end, and none while somebody else may still be at it
//   I2  a doorbell is held by the two ends of its link only
//   I3  what is told follows from the state of the channel: settle() may be called at any time, and
//       does nothing when everything is as it should be
import type { Clock } from "../../common/clock.ts";
import { ShimmyError } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import { MAX_CHANNEL_LINKS } from "../api-limits.ts";
import type { AttachmentState } from "../api.ts";
import type { AgentMetrics } from "../metrics.ts";
import type { AgentNative, Fd } from "../native.ts";
import type { Attachment, Channel, Link, Ring } from "./channel.ts";

/** What an {@link Introducer} works with. */
export interface IntroducerDeps {
  readonly native: Pick<AgentNative, "socketPair">;
  readonly clock: Clock;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

/** A reader that a ring was offered to so often has something against it. */
const MAX_OFFERS = 8;

/** See the top of the file. */
export class Introducer {
  readonly #deps: IntroducerDeps;

  constructor(deps: IntroducerDeps) {
    this.#deps = deps;
  }

  /** Makes everything of a channel as it should be now (I3). */
  settle(channel: Channel): void {
    this.#dropRings(channel);
    if (channel.isLockBased) {
      this.#promoteWriter(channel);
      this.#chooseReader(channel);
    }
    const stubborn = channel.readers.filter(
      (reader) => reader.state === "live" && !this.#offerRings(channel, reader),
    );
    for (const reader of stubborn) {
      const message = `a ring was offered ${MAX_OFFERS} times, and no link of it lasted`;
      this.expel(channel, reader, new ShimmyError("SHIMMY_ERR_LIMIT", message));
    }
    if (stubborn.length > 0) this.settle(channel);
  }

  /** A reader has lodged its region: both sides get the link's doorbell. */
  join(channel: Channel, ring: Ring, link: Link): void {
    const { writer } = ring;
    const { reader, region } = link;
    if (reader === undefined || region === undefined) return;
    if (writer === undefined) {
      // Nobody to introduce it to: it reads what there is.
      link.state = "joined";
      return;
    }
    const [mine, theirs] = this.#makeDoorbell();
    try {
      const { generation } = ring;
      const common = { type: "channelPeer", generation, number: link.number } as const;
      const isSent =
        writer.member.send(
          { ...common, attachment: writer.id, peer: reader.pod, regions: [region.kind] },
          [mine, region.fd],
        ) &&
        reader.member.send({ ...common, attachment: reader.id, peer: writer.pod, regions: [] }, [
          theirs,
        ]);
      this.#deps.metrics.channelLinks.inc({ result: isSent ? "joined" : "failed" });
      link.state = "joined";
      // Offered again, unless the connection is over; who has an end sees the other hang up.
      if (!isSent) this.unlink(channel, ring, link);
    } finally {
      mine.close(); // I2
      theirs.close();
    }
  }

  /** Takes a link away and tells who has it, except who said so. */
  unlink(channel: Channel, ring: Ring, link: Link, teller?: Attachment): void {
    for (const side of [ring.writer, link.reader]) {
      if (side !== undefined && side !== teller) this.#tellGone(side, ring, link, true);
    }
    channel.removeLink(ring, link);
  }

  /** Ends an attachment by the agent's will. */
  expel(channel: Channel, attachment: Attachment, { code, message }: ShimmyError): void {
    this.#deps.metrics.channelDetachments.inc({ code });
    this.#deps.log.info(
      { topic: channel.key, pod: attachment.pod.uid, role: attachment.role, code },
      "channel attachment ended",
    );
    attachment.member.send({
      type: "channelDetached",
      attachment: attachment.id,
      code,
      message: message.slice(0, 512),
    });
    this.leave(channel, attachment);
  }

  /** Takes an attachment out of a channel; its ring stays for who has not read it. */
  leave(channel: Channel, attachment: Attachment): void {
    const index = channel.attachments.indexOf(attachment);
    if (index >= 0) channel.attachments.splice(index, 1);
    for (const { ring, link } of channel.linksOf(attachment)) {
      this.unlink(channel, ring, link, attachment);
    }
    const ring = channel.ringOf(attachment);
    if (ring !== undefined) this.#endRing(channel, ring);
  }

  /** The writer of a ring has gone: its readers go on by themselves to the end of it. */
  #endRing(channel: Channel, ring: Ring): void {
    ring.writer = undefined;
    ring.endedAt = this.#deps.clock.now();
    for (const link of [...ring.links.values()]) {
      if (link.reader === undefined) channel.removeLink(ring, link);
      else this.#tellGone(link.reader, ring, link, false);
    }
  }

  #dropRings(channel: Channel): void {
    const now = this.#deps.clock.now();
    const { timeToLiveMs } = channel.record.parameters;
    for (const ring of [...channel.rings]) {
      if (ring.writer !== undefined || ring.endedAt === undefined) continue;
      const isOver = channel.isLockBased
        ? ring.isFinished
        : now - ring.endedAt >= timeToLiveMs && !isBeingRead(ring);
      // Claimed by a reader alone, it has no regions here and is that reader's until it has read it.
      const isNothing = ring.regions.length === 0 && !isBeingRead(ring);
      if (isOver || isNothing) channel.removeRing(ring);
    }
  }

  #promoteWriter(channel: Channel): void {
    const { writers } = channel;
    if (writers.some(({ state }) => state === "live")) return;
    const [next] = writers;
    if (next === undefined) return;
    const { generation } = channel.ringOf(next) ?? channel.addRing(next);
    this.#setState(channel, next, "live", generation);
  }

  /** Who is at a ring stays at it; else the first who came. */
  #chooseReader(channel: Channel): void {
    const { readers } = channel;
    const atWork = readers.find((reader) =>
      channel.linksOf(reader).some(({ link }) => link.state !== "offered"),
    );
    const next = atWork ?? readers.find(({ state }) => state === "live") ?? readers[0];
    for (const reader of readers) {
      if (reader !== next && reader.state === "live") {
        for (const { ring, link } of channel.linksOf(reader)) this.unlink(channel, ring, link);
        this.#setState(channel, reader, "standby");
      }
    }
    if (next?.state === "standby") this.#setState(channel, next, "live");
  }

  #setState(
    channel: Channel,
    attachment: Attachment,
    state: AttachmentState,
    generation?: number,
  ): void {
    attachment.state = state;
    this.#deps.log.info(
      { topic: channel.key, pod: attachment.pod.uid, role: attachment.role, state, generation },
      "channel role changed",
    );
    attachment.member.send({
      type: "channelState",
      attachment: attachment.id,
      state,
      ...(generation === undefined ? {} : { generation }),
    });
  }

  /** @returns Whether it did not have to be offered the same too often. */
  #offerRings(channel: Channel, reader: Attachment): boolean {
    const rings = channel.isLockBased
      ? nextRing(channel, reader)
      : channel.rings.filter((ring) => isForSubscriber(ring, reader));
    return rings.every((ring) => this.#offer(channel, ring, reader));
  }

  #offer(channel: Channel, ring: Ring, reader: Attachment): boolean {
    const { generation, pod } = ring;
    const count = (reader.offers.get(generation) ?? 0) + 1;
    if (pod === undefined) return true;
    if (count > MAX_OFFERS) return false;
    reader.offers.set(generation, count);
    const link: Link = {
      number: channel.nextNumber(),
      reader,
      region: undefined,
      state: "offered",
    };
    const { predecessor } = ring;
    const regions = [...ring.regions, ...(predecessor === undefined ? [] : [predecessor.region])];
    const isSent = reader.member.send(
      {
        type: "channelRing",
        attachment: reader.id,
        generation,
        number: link.number,
        writer: pod,
        isEnded: ring.endedAt !== undefined,
        start: sawBegin(reader, ring) ? "oldest" : reader.start,
        regions: regions.map(({ kind }) => kind),
        ...(predecessor === undefined ? {} : { previous: predecessor.number }),
      },
      regions.map(({ fd }) => fd),
    );
    if (isSent) channel.addLink(ring, link);
    return true;
  }

  #makeDoorbell(): [Fd, Fd] {
    try {
      return this.#deps.native.socketPair();
    } catch (err) {
      throw new ShimmyError("SHIMMY_ERR_LIMIT", "the node is out of descriptors", { cause: err });
    }
  }

  #tellGone(
    { id, member }: Attachment,
    { generation }: Ring,
    { number }: Link,
    isOver: boolean,
  ): void {
    member.send({ type: "channelPeerGone", attachment: id, generation, number, isOver });
  }
}

/** The oldest ring that is not read to its end, if nobody is at it (I1). */
function nextRing(channel: Channel, reader: Attachment): Ring[] {
  if (channel.linksOf(reader).length > 0) return [];
  const ring = channel.rings.find(
    ({ isFinished, generation }) => !isFinished && !reader.finished.has(generation),
  );
  return ring !== undefined && ring.regions.length > 0 && ring.links.size === 0 ? [ring] : [];
}

function isForSubscriber(ring: Ring, reader: Attachment): boolean {
  if (ring.regions.length === 0 || reader.finished.has(ring.generation)) return false;
  if (ring.endedAt !== undefined && reader.start === "newest" && !sawBegin(reader, ring)) {
    return false;
  }
  const isLinked = [...ring.links.values()].some((link) => link.reader === reader);
  return !isLinked && ring.links.size < MAX_CHANNEL_LINKS;
}

function isBeingRead({ links }: Ring): boolean {
  return [...links.values()].some(({ reader }) => reader !== undefined);
}

/** Whether a reader was there before the ring: it misses nothing of it then. */
function sawBegin(reader: Attachment, ring: Ring): boolean {
  return ring.since > reader.since;
}
