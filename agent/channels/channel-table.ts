import type { Attachment, Channel, ChannelMember } from "./channel.ts";

/** What one pod has of channels. */
export interface ChannelUsage {
  /** Channels that it made. */
  readonly channels: number;
  readonly attachments: number;
  /** Lodged regions that it writes. */
  readonly regions: number;
  readonly bytes: number;
}

/** The channels in use, found by topic and by attachment. */
export class ChannelTable {
  readonly #byKey = new Map<string, Channel>();
  readonly #byAttachment = new Map<string, Channel>();

  /** Every channel; a copy. */
  all(): Channel[] {
    return [...this.#byKey.values()];
  }

  /** @param key - `namespace/name`. */
  get(key: string): Channel | undefined {
    return this.#byKey.get(key);
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Of all that is held. */
  get lodgedBytes(): number {
    return this.all()
      .flatMap(({ lodged }) => lodged)
      .reduce((sum, { region }) => sum + region.bytes, 0);
  }

  get attachmentCount(): number {
    return this.#byAttachment.size;
  }

  /** The attachment of a client, by the name it was given. */
  find(
    member: ChannelMember,
    id: string,
  ): { readonly channel: Channel; readonly attachment: Attachment } | undefined {
    const channel = this.#byAttachment.get(id);
    const attachment = channel?.attachments.find((each) => each.id === id);
    if (channel === undefined || attachment?.member !== member) return undefined;
    return { channel, attachment };
  }

  add(channel: Channel): void {
    this.#byKey.set(channel.key, channel);
  }

  attach(channel: Channel, attachment: Attachment): void {
    channel.attachments.push(attachment);
    channel.emptySince = undefined;
    this.#byAttachment.set(attachment.id, channel);
  }

  /** Forgets the attachments that their channels do not have any more. */
  forgetLeft(): void {
    for (const [id, channel] of this.#byAttachment) {
      if (!channel.attachments.some((each) => each.id === id)) this.#byAttachment.delete(id);
    }
  }

  /** Lets go of a channel and everything of it. */
  remove(channel: Channel): void {
    this.#byKey.delete(channel.key);
    channel.close();
    this.forgetLeft();
  }

  usageOf(pod: string): ChannelUsage {
    const usage = { channels: 0, attachments: 0, regions: 0, bytes: 0 };
    for (const channel of this.#byKey.values()) {
      if (channel.maker === pod) usage.channels++;
      usage.attachments += channel.attachments.filter((each) => each.pod.uid === pod).length;
      const own = channel.lodged.filter((each) => each.pod === pod);
      usage.regions += own.length;
      usage.bytes += own.reduce((sum, { region }) => sum + region.bytes, 0);
    }
    return usage;
  }
}
