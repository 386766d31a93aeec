// What an attachment brings back that outlived its connection to the agent.
//
//   I1  nothing is taken from an attachment that is there: only what nobody holds, or what the same
//       process held, is given
//   I2  a link counts once both sides have shown it; one that the other side is there without is over
//   I3  of a channel that was made here every ring is known, and of another one a minute after it
//       became known: what a reader shows of one that is not known then never was
import { ShimmyError } from "../../common/errors.ts";
import type { ChannelLink, ReattachChannelMessage } from "../api.ts";
import { ROLES, type Attachment, type Channel, type Link, type Ring } from "./channel.ts";

/** What is over, of what was shown and what is known. */
export interface Restored {
  /** Links that the attachment showed and does not have any more. */
  readonly refused: readonly ChannelLink[];
  /** Links of others that the attachment did not show. */
  readonly stale: readonly { readonly ring: Ring; readonly link: Link }[];
}

/** Who outlived an agent shows what it has within seconds; later only somebody who has nothing. */
const SHOWING_MS = 60_000;

const NOTHING: Restored = { refused: [], stale: [] };

/**
 * Gives an attachment that is being made its ring and links again.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` for generations and numbers that never were.
 * @throws {@link ShimmyError} `SHIMMY_ERR_CHANNEL_MISMATCH` when the ring is somebody else's.
 */
export function restore(
  channel: Channel,
  attachment: Attachment,
  { generation, links }: ReattachChannelMessage,
  now: number,
): Restored {
  const counts = links.flatMap((link) => [link.generation, link.number]);
  if (generation !== undefined) counts.push(generation);
  if (!counts.every((count) => channel.isPlausible(count))) {
    throw new ShimmyError("SHIMMY_ERR_PROTOCOL", "a ring or link that never was");
  }
  if (ROLES[attachment.role].side === "reader") {
    return {
      refused: links.filter((each) => !takeLink(channel, attachment, each, now)),
      stale: [],
    };
  }
  if (generation === undefined) return NOTHING;
  const ring = takeRing(channel, attachment, generation);
  return { refused: [], stale: takeLinks(channel, ring, links) };
}

function takeRing(channel: Channel, writer: Attachment, generation: number): Ring {
  const ring = channel.ring(generation) ?? channel.addRing(writer, generation);
  const { writer: holder, pod } = ring;
  const isFree = holder === undefined || holder === writer || isSameProcess(holder, writer);
  if (!isFree || (pod !== undefined && pod.uid !== writer.pod.uid)) {
    throw new ShimmyError(
      "SHIMMY_ERR_CHANNEL_MISMATCH",
      `generation ${generation} of topic ${channel.key} is another's`,
    );
  }
  ring.writer = writer;
  ring.pod = writer.pod;
  ring.endedAt = undefined;
  return ring;
}

/** @returns Links that readers have and the writer has not (I2). */
function takeLinks(channel: Channel, ring: Ring, shown: readonly ChannelLink[]): Restored["stale"] {
  const numbers = new Set(
    shown.filter(({ generation }) => generation === ring.generation).map(({ number }) => number),
  );
  for (const number of numbers) {
    const link = ring.links.get(number);
    if (link === undefined) {
      channel.addLink(ring, { number, reader: undefined, region: undefined, state: "claimed" });
    } else if (link.state === "claimed" && link.reader !== undefined) {
      link.state = "joined";
    }
  }
  return [...ring.links.values()]
    .filter(({ number, state }) => state !== "offered" && !numbers.has(number))
    .map((link) => ({ ring, link }));
}

/** @returns Whether the reader has it again. */
function takeLink(channel: Channel, reader: Attachment, shown: ChannelLink, now: number): boolean {
  const ring = channel.ring(shown.generation) ?? addUnknown(channel, shown.generation, now);
  if (ring === undefined) return false;
  const link = ring.links.get(shown.number);
  if (link !== undefined) {
    const isFree = link.reader === undefined || isSameProcess(link.reader, reader);
    if (!isFree) return false; // I1
    if (link.reader === undefined) link.state = "joined";
    link.reader = reader;
    return true;
  }
  // A writer that is there would have shown it; another consumer may have taken over.
  const isOver = ring.writer !== undefined || (channel.isLockBased && ring.links.size > 0);
  if (isOver) return false;
  channel.addLink(ring, {
    number: shown.number,
    reader,
    region: undefined,
    state: "claimed",
  });
  return true;
}

/** A ring of which nothing is known but that somebody reads it; `undefined` where there is none (I3). */
function addUnknown(channel: Channel, generation: number, now: number): Ring | undefined {
  if (channel.maker !== undefined || now - channel.knownAt > SHOWING_MS) return undefined;
  const ring = channel.addRing(undefined, generation);
  ring.endedAt = 0;
  return ring;
}

/** The connection of before may not have been seen to end yet. */
function isSameProcess(one: Attachment, other: Attachment): boolean {
  const { pid } = other.member;
  return pid > 0 && one.member.pid === pid && one.pod.uid === other.pod.uid;
}
