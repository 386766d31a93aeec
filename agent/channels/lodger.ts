import { ShimmyError } from "../../common/errors.ts";
import type { LodgeRegionsMessage, RegionKind } from "../api.ts";
import type { AgentNative, Fd } from "../native.ts";
import type { Quotas } from "../quotas.ts";
import {
  ROLES,
  type Attachment,
  type Channel,
  type ChannelMember,
  type Link,
  type LodgedRegion,
  type Ring,
} from "./channel.ts";
import type { ChannelTable } from "./channel-table.ts";
import { regionProblem } from "./region-check.ts";

/** What a {@link Lodger} works with. */
export interface LodgerDeps {
  readonly native: Pick<AgentNative, "inspectMemfd" | "discard">;
  readonly table: ChannelTable;
  readonly quotas: Quotas;
  readonly isMember: (member: ChannelMember) => boolean;
  /** A link has its reader's region now. */
  readonly join: (channel: Channel, ring: Ring, link: Link) => void;
}

/** Messages of one process whose descriptors wait for a look: beyond it they would use up ours. */
const MAX_WAITING = 128;

/** Takes the regions that clients lodge, after a look at each. */
export class Lodger {
  readonly #deps: LodgerDeps;
  /** Who waits for a look: one at a time for each process. */
  readonly #looking = new Map<ChannelMember, Promise<unknown>>();
  readonly #waiting = new Map<ChannelMember, number>();

  constructor(deps: LodgerDeps) {
    this.#deps = deps;
  }

  /**
   * Takes regions; owns `fds` from the start. What came too late, for a link or ring that is gone,
   * is dropped.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_BAD_REGION` when one is not what it is said to be.
   * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` when they are not those that are to come.
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` beyond the pod's quota.
   */
  async lodge(
    channel: Channel,
    attachment: Attachment,
    message: LodgeRegionsMessage,
    fds: Fd[],
  ): Promise<void> {
    const left = new Set(fds);
    const { member } = attachment;
    this.#waiting.set(member, (this.#waiting.get(member) ?? 0) + 1);
    try {
      requireKinds(attachment, message);
      if ((this.#waiting.get(member) ?? 0) > MAX_WAITING) throw limit("too many regions at once");
      const regions = await this.#inspectInTurn(channel, member, message.regions, fds);
      // It may have left meanwhile.
      if (!this.#deps.isMember(member) || !channel.attachments.includes(attachment)) return;
      this.#requireRoom(attachment.pod.uid, regions);
      if (ROLES[attachment.role].side === "writer") {
        lodgeRing(channel, attachment, message, regions);
        left.clear();
      } else {
        this.#lodgeLink(channel, attachment, { message, regions, left });
      }
    } finally {
      this.#doneWaiting(member);
      for (const fd of left) this.#deps.native.discard(fd);
    }
  }

  #lodgeLink(
    channel: Channel,
    reader: Attachment,
    lodged: {
      readonly message: LodgeRegionsMessage;
      readonly regions: readonly LodgedRegion[];
      readonly left: Set<Fd>;
    },
  ): void {
    const { message, regions, left } = lodged;
    const found = linkOf(channel, reader, message);
    if (found === undefined) return;
    const { ring, link } = found;
    const isNew = link.state === "offered";
    link.region?.fd.close();
    [link.region] = regions;
    // Before it is joined: that can fail, and the link has it then.
    left.clear();
    if (isNew) this.#deps.join(channel, ring, link);
  }

  #doneWaiting(member: ChannelMember): void {
    const count = (this.#waiting.get(member) ?? 1) - 1;
    if (count === 0) this.#waiting.delete(member);
    else this.#waiting.set(member, count);
  }

  /** One look at a time for each process: what hangs, hangs for who sent it. */
  async #inspectInTurn(
    channel: Channel,
    member: ChannelMember,
    kinds: readonly RegionKind[],
    fds: readonly Fd[],
  ): Promise<LodgedRegion[]> {
    const before = this.#looking.get(member) ?? Promise.resolve();
    const turn = before
      .catch(() => undefined)
      .then(() => Promise.all(fds.map((fd, index) => this.#inspect(channel, kinds[index], fd))));
    this.#looking.set(member, turn);
    try {
      return await turn;
    } finally {
      if (this.#looking.get(member) === turn) this.#looking.delete(member);
    }
  }

  async #inspect(channel: Channel, kind: RegionKind = "data", fd: Fd): Promise<LodgedRegion> {
    const facts = await this.#deps.native.inspectMemfd(fd);
    const problem = regionProblem(kind, facts, channel.record.parameters);
    if (problem !== undefined) {
      throw new ShimmyError("SHIMMY_ERR_BAD_REGION", `region "${kind}": ${problem}`);
    }
    return { kind, fd, bytes: facts.bytes, id: facts.id };
  }

  #requireRoom(pod: string, regions: readonly LodgedRegion[]): void {
    const { table, quotas } = this.#deps;
    const usage = table.usageOf(pod);
    const bytes = usage.bytes + regions.reduce((sum, region) => sum + region.bytes, 0);
    if (bytes > quotas.channelBytesPerPod) {
      throw limit(`pod ${pod} would have ${bytes} bytes, at most ${quotas.channelBytesPerPod}`);
    }
    if (usage.regions + regions.length > quotas.channelRegionsPerPod) {
      throw limit(`pod ${pod} has ${quotas.channelRegionsPerPod} regions`);
    }
  }
}

function lodgeRing(
  channel: Channel,
  writer: Attachment,
  { generation }: LodgeRegionsMessage,
  regions: readonly LodgedRegion[],
): void {
  const ring = channel.ringOf(writer);
  if (ring?.generation !== generation) {
    throw misuse(`generation ${generation} is not this writer's`);
  }
  // Kept while the writer was away; these are the same files again.
  for (const { fd } of ring.regions) fd.close();
  ring.regions = regions;
}

/** The link that a reader lodges for; nothing when that is gone by now. */
function linkOf(
  channel: Channel,
  reader: Attachment,
  { generation, number }: LodgeRegionsMessage,
): { readonly ring: Ring; readonly link: Link } | undefined {
  if (number === undefined) throw misuse("a reader lodges its region for a link");
  const ring = channel.ring(generation);
  const link = ring?.links.get(number);
  return ring === undefined || link?.reader !== reader ? undefined : { ring, link };
}

function requireKinds({ role }: Attachment, { regions }: LodgeRegionsMessage): void {
  const { side, region } = ROLES[role];
  const expected = side === "writer" ? `data,${region}` : region;
  if (regions.join(",") !== expected) throw misuse(`a ${role} lodges ${expected}`);
}

function misuse(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", message);
}

function limit(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_LIMIT", message);
}
