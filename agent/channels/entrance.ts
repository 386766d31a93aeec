import type { Clock } from "../../common/clock.ts";
import { ShimmyError } from "../../common/errors.ts";
import type {
  AttachChannelMessage,
  ChannelAttachedMessage,
  ReattachChannelMessage,
} from "../api.ts";
import { identityOf, type CatalogPod } from "../catalog.ts";
import type { Quotas } from "../quotas.ts";
import { ROLES, type Attachment, type Channel, type ChannelMember } from "./channel.ts";
import type { ChannelTable } from "./channel-table.ts";
import type { Claims } from "./claims.ts";
import type { Introducer } from "./introducer.ts";
import { restore, type Restored } from "./restore.ts";

/** What an {@link Entrance} works with. */
export interface EntranceDeps {
  readonly table: ChannelTable;
  readonly claims: Claims;
  readonly introducer: Introducer;
  readonly quotas: Quotas;
  readonly clock: Clock;
}

/** Who enters. */
interface Entrant {
  readonly member: ChannelMember;
  readonly pod: CatalogPod;
  readonly message: AttachChannelMessage | ReattachChannelMessage;
}

/** Attachments of one side of a channel: 64 subscribers, or one consumer and 63 that stand by. */
const MAX_ROLES = 64;

/** Takes those into channels whom policy lets in. */
export class Entrance {
  readonly #deps: EntranceDeps;

  constructor(deps: EntranceDeps) {
    this.#deps = deps;
  }

  /**
   * Makes the attachment and answers with it.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CHANNEL_MISMATCH` for a role of the other kind of channel.
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` when the channel or the pod has as many as it may.
   * @throws {@link ShimmyError} As {@link restore} says.
   */
  enter(channel: Channel, entrant: Entrant): Attachment {
    const { member, pod, message } = entrant;
    this.#requireRoom(channel, pod, message.role);
    const attachment = this.#make(channel, entrant);
    const restored =
      message.type === "reattachChannel"
        ? restore(channel, attachment, message, this.#deps.clock.now())
        : undefined;
    if (isToBeLive(channel, attachment)) attachment.state = "live";
    const isWriter = ROLES[message.role].side === "writer";
    if (isWriter && attachment.state === "live" && channel.ringOf(attachment) === undefined) {
      channel.addRing(attachment);
    }
    this.#deps.table.attach(channel, attachment);
    member.send(answer(channel, attachment, message.request));
    if (restored !== undefined) this.#clear(channel, attachment, restored);
    return attachment;
  }

  #make(channel: Channel, { member, pod, message: { role, start } }: Entrant): Attachment {
    return {
      id: this.#deps.claims.name({ pod: pod.uid, role, channel: channel.info }),
      member,
      pod: identityOf(pod),
      role,
      start,
      since: new Date(),
      state: "standby",
      finished: new Set(),
      offers: new Map(),
    };
  }

  /** Links that one side alone has are over. */
  #clear(channel: Channel, attachment: Attachment, { refused, stale }: Restored): void {
    for (const link of refused) {
      const { generation, number } = link;
      const over = { attachment: attachment.id, generation, number, isOver: true };
      attachment.member.send({ type: "channelPeerGone", ...over });
    }
    for (const { ring, link } of stale) {
      this.#deps.introducer.unlink(channel, ring, link, attachment);
    }
  }

  #requireRoom(channel: Channel, pod: CatalogPod, role: Attachment["role"]): void {
    const { kind, side } = ROLES[role];
    const { kind: actual } = channel.record.parameters;
    if (actual !== kind) {
      throw new ShimmyError(
        "SHIMMY_ERR_CHANNEL_MISMATCH",
        `topic ${channel.key} has a ${actual} channel, which has no ${role}`,
      );
    }
    const peers = channel.attachments.filter((each) => ROLES[each.role].side === side);
    if (peers.length >= MAX_ROLES) {
      throw new ShimmyError("SHIMMY_ERR_LIMIT", `topic ${channel.key} has ${MAX_ROLES} ${role}s`);
    }
    const { attachmentsPerPod } = this.#deps.quotas;
    if (this.#deps.table.usageOf(pod.uid).attachments >= attachmentsPerPod) {
      throw new ShimmyError(
        "SHIMMY_ERR_LIMIT",
        `pod ${pod.uid} has ${attachmentsPerPod} attachments`,
      );
    }
  }
}

/** Of a lock-based channel one of each side, and whoever brings back what it is at. */
function isToBeLive(channel: Channel, attachment: Attachment): boolean {
  if (!channel.isLockBased) return true;
  const { side } = ROLES[attachment.role];
  const isAlone = !channel.attachments.some(
    (each) => ROLES[each.role].side === side && each.state === "live",
  );
  const isAtWork =
    channel.ringOf(attachment) !== undefined || channel.linksOf(attachment).length > 0;
  return isAlone || isAtWork;
}

function answer(channel: Channel, attachment: Attachment, request: number): ChannelAttachedMessage {
  const generation = channel.ringOf(attachment)?.generation;
  return {
    type: "channelAttached",
    request,
    attachment: attachment.id,
    channel: channel.info,
    state: attachment.state,
    ...(generation === undefined ? {} : { generation }),
  };
}
