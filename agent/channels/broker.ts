import { messageOf, ShimmyError, toShimmyError } from "../../common/errors.ts";
import type { Clock } from "../../common/clock.ts";
import type { Logger } from "../../common/log.ts";
import type {
  AttachChannelMessage,
  ChannelClientMessage,
  ChannelInfo,
  LodgeRegionsMessage,
  ReattachChannelMessage,
} from "../api.ts";
import type { Catalog, CatalogPod } from "../catalog.ts";
import type { AgentMetrics } from "../metrics.ts";
import type { AgentNative, Fd } from "../native.ts";
import { TokenBucket, type Quotas } from "../quotas.ts";
import { ROLES, type Attachment, type Channel, type ChannelMember } from "./channel.ts";
import { ChannelFinder, TopicDeniedError } from "./channel-finder.ts";
import { ChannelTable } from "./channel-table.ts";
import type { Claims } from "./claims.ts";
import { Entrance } from "./entrance.ts";
import { Introducer } from "./introducer.ts";
import { Lodger } from "./lodger.ts";
import { haveSameParameters } from "./parameters.ts";
import { encodeRecord, parseRecord, type ChannelRecord } from "./record.ts";
import { RecordKeeper } from "./record-keeper.ts";
import type { ChannelRegistry } from "./registry.ts";
import { parseTopic, topicKey, type Topic } from "./topic.ts";

/** What the {@link ChannelBroker} works with. */
export interface ChannelBrokerDeps {
  readonly native: Pick<AgentNative, "socketPair" | "inspectMemfd" | "discard">;
  readonly registry: ChannelRegistry;
  readonly claims: Claims;
  readonly clock: Clock;
  readonly quotas: Quotas;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
  /** How long a channel that nobody has attached keeps what was not read, in milliseconds. */
  readonly graceMs: number;
}

/**
 * The broker of channels: decides who may attach, introduces writers and readers to each other, and
 * keeps what they lodge for who comes later. It is not in the data path; channels that are attached
 * need neither it nor the registry.
 *
 *   I1  a role is given, and kept, only while policy grants it
 *   I2  every descriptor received is lodged or closed
 *   I3  after a member has left nothing is sent to it
 */
export class ChannelBroker {
  readonly table = new ChannelTable();
  readonly finder: ChannelFinder;
  readonly #deps: ChannelBrokerDeps;
  readonly #members = new Set<ChannelMember>();
  readonly #requests = new Map<string, TokenBucket>();
  /** Lodgings under way; what a process says and does behind them comes behind them. */
  readonly #lodging = new Map<ChannelMember, Promise<void>>();
  readonly #introducer: Introducer;
  readonly #entrance: Entrance;
  readonly #lodger: Lodger;
  readonly #records: RecordKeeper;
  #catalog: Catalog;

  constructor(catalog: Catalog, deps: ChannelBrokerDeps) {
    this.#catalog = catalog;
    this.#deps = deps;
    const { table } = this;
    const introducer = new Introducer(deps);
    this.#introducer = introducer;
    this.#entrance = new Entrance({ ...deps, table, introducer });
    this.#records = new RecordKeeper(deps);
    this.finder = new ChannelFinder({ ...deps, table, catalog: () => this.#catalog });
    this.#lodger = new Lodger({
      ...deps,
      table,
      join: (channel, ring, link) => {
        this.#introducer.join(channel, ring, link);
      },
      isMember: (member) => this.#members.has(member),
    });
  }

  /** How many processes attach channels now. */
  get memberCount(): number {
    return this.#members.size;
  }

  /** How many processes of a pod attach channels now. */
  membersOf(pod: string): number {
    return [...this.#members].filter((member) => member.pod === pod).length;
  }

  /** A process said hello. */
  join(member: ChannelMember): void {
    this.#members.add(member);
  }

  /**
   * A process's connection is over, and with it its attachments: once what it lodged before is lodged,
   * or what it wrote into it would be lost.
   */
  leave(member: ChannelMember): void {
    this.#afterLodging(member, () => {
      this.#leave(member);
    });
  }

  #leave(member: ChannelMember): void {
    this.#members.delete(member);
    for (const channel of this.table.all()) {
      const own = channel.attachments.filter((each) => each.member === member);
      for (const attachment of own) this.#introducer.leave(channel, attachment);
      if (own.length > 0) this.#changed(channel);
    }
  }

  /** Acts on a message. What it does not take of `fds` stays there. */
  receive(member: ChannelMember, message: ChannelClientMessage, fds: Fd[]): void {
    switch (message.type) {
      case "attachChannel":
        void this.#answer(member, message, () => this.#attach(member, message));
        break;
      case "reattachChannel":
        void this.#answer(member, message, () => this.#reattach(member, message));
        break;
      case "lodgeRegions":
        this.#beginLodging(member, message, fds.splice(0));
        break;
      case "detachChannel":
        this.#afterLodging(member, () => {
          this.#receiveSmall(member, message);
        });
        break;
      default:
        this.#receiveSmall(member, message);
    }
  }

  /** Judges every attachment by a new catalog (I1). */
  setCatalog(catalog: Catalog): void {
    this.#catalog = catalog;
    for (const uid of this.#requests.keys()) {
      if (!catalog.pods.has(uid)) this.#requests.delete(uid);
    }
    for (const channel of this.table.all()) {
      const lost = channel.attachments.filter(
        (each) => this.#judge(channel.topic, each) !== undefined,
      );
      for (const attachment of lost) {
        const reason = this.#judge(channel.topic, attachment) ?? "no_role";
        this.#introducer.expel(channel, attachment, new TopicDeniedError(channel.topic, reason));
      }
      if (lost.length > 0) this.#changed(channel);
      this.#followDeclaration(channel);
    }
  }

  /** Makes again what could not be made, and lets go of what nobody needs; call it every few seconds. */
  sweep(): void {
    const now = this.#deps.clock.now();
    for (const channel of this.table.all()) {
      this.#introducer.settle(channel);
      const { emptySince } = channel;
      if (channel.attachments.length > 0) channel.emptySince = undefined;
      else if (emptySince === undefined) channel.emptySince = now;
      else if (now - emptySince >= this.#deps.graceMs) this.#collect(channel);
    }
    this.table.forgetLeft();
    this.#records.refresh(this.table.all());
  }

  /**
   * Deletes a channel and its record.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CHANNEL_IN_USE` when it is attached, unless by force.
   * @throws {@link ShimmyError} `SHIMMY_ERR_REGISTRY_UNAVAILABLE`; it is as it was then.
   */
  async delete(topic: Topic, isForced: boolean): Promise<void> {
    const before = this.table.get(topicKey(topic));
    this.#requireUnused(before, isForced);
    if (before === undefined) await this.#requireRecord(topic);
    this.#records.discard(topic);
    await this.#deps.registry.remove(topic);
    // Somebody may have attached it meanwhile, and so taken it into use.
    const channel = this.table.get(topicKey(topic));
    this.#requireUnused(channel, isForced);
    if (channel === undefined) return;
    this.#expelAll(channel, "the channel was deleted");
    this.table.remove(channel);
    this.#deps.log.info({ topic: channel.key, isForced }, "channel deleted");
  }

  /** Lets go of everything held; channels go on between who has attached them. */
  stop(): void {
    for (const channel of this.table.all()) this.table.remove(channel);
  }

  /** Sends the answer to a request, or why there is none. */
  async #answer(
    member: ChannelMember,
    { type, request }: AttachChannelMessage | ReattachChannelMessage,
    act: () => Promise<void>,
  ): Promise<void> {
    const { metrics, log } = this.#deps;
    try {
      if (!this.#requestsOf(member.pod).take()) {
        throw new ShimmyError("SHIMMY_ERR_RATE_LIMITED", "too many requests for channels");
      }
      await act();
      metrics.channelAttachments.inc({ result: "attached" });
    } catch (err) {
      const error = toShimmyError(err);
      const { code, message } = error;
      const reason = error instanceof TopicDeniedError ? error.reason : undefined;
      metrics.channelAttachments.inc({ result: reason ?? code });
      if (code === "SHIMMY_ERR_INTERNAL") log.error({ err }, "channel request failed");
      else log.debug({ pod: member.pod, type, code, problem: message }, "channel refused");
      if (!this.#members.has(member)) return; // I3
      member.send({
        type: "channelRefused",
        request,
        code,
        ...(reason === undefined ? {} : { reason }),
        message: message.slice(0, 512),
      });
    }
  }

  async #attach(member: ChannelMember, message: AttachChannelMessage): Promise<void> {
    const pod = this.#podOf(member);
    const topic = parseTopic(message.topic, pod.namespace);
    this.#requireRole(pod, topic, message);
    const request = message.parameters;
    const channel = await this.finder.find({
      topic,
      pod,
      origin: "attachment",
      ...(request === undefined ? {} : { request }),
    });
    this.#enter(channel, member, message);
  }

  /** Takes an attachment of before: the agent was started again, or the connection was lost. */
  async #reattach(member: ChannelMember, message: ReattachChannelMessage): Promise<void> {
    const pod = this.#podOf(member);
    const topic = parseTopic(message.channel.topic, undefined);
    this.#requireRole(pod, topic, message);
    const channel = await this.#find(pod, topic, message);
    const { record } = channel;
    const isSame =
      record.id === message.channel.id && haveSameParameters(record.parameters, message.channel);
    if (!isSame) throw mismatch(`topic ${channel.key} has another channel by now`);
    this.#enter(channel, member, message);
  }

  /** The channel of a claim: as the agent itself said before, or as the registry or its owner says. */
  async #find(
    pod: CatalogPod,
    topic: Topic,
    { attachment, role, channel: info }: ReattachChannelMessage,
  ): Promise<Channel> {
    const known = this.table.get(topicKey(topic));
    if (known !== undefined) return known;
    const record = recordOf(info, topic);
    if (this.#deps.claims.verify(attachment, { pod: pod.uid, role, channel: info })) {
      const declared = this.#catalog.topics.declared(topic);
      const isDeclared = declared !== undefined && haveSameParameters(declared, record.parameters);
      const hasId = (this.#catalog.topics.idOf(topic) ?? record.id) === record.id;
      if (declared === undefined || (isDeclared && hasId)) {
        return this.finder.adopt(record, isDeclared ? "declaration" : "request");
      }
    }
    return this.finder.find({ topic, pod, origin: "attachment" });
  }

  #enter(
    channel: Channel,
    member: ChannelMember,
    message: AttachChannelMessage | ReattachChannelMessage,
  ): void {
    if (!this.#members.has(member)) throw new ShimmyError("SHIMMY_ERR_CLOSED", "it has left");
    // Policy may have changed while the registry was asked.
    const pod = this.#podOf(member);
    this.#requireRole(pod, channel.topic, message);
    const { state, role } = this.#entrance.enter(channel, { member, pod, message });
    this.#deps.log.info({ topic: channel.key, pod: pod.uid, role, state }, "channel attached");
    this.#changed(channel);
  }

  #beginLodging(member: ChannelMember, message: LodgeRegionsMessage, fds: Fd[]): void {
    const before = this.#lodging.get(member);
    const done = this.#lodge(member, message, fds);
    this.#track(member, before === undefined ? done : before.then(() => done));
  }

  #afterLodging(member: ChannelMember, act: () => void): void {
    const before = this.#lodging.get(member);
    if (before === undefined) act();
    else this.#track(member, before.then(act));
  }

  #track(member: ChannelMember, last: Promise<void>): void {
    this.#lodging.set(member, last);
    void last.finally(() => {
      if (this.#lodging.get(member) === last) this.#lodging.delete(member);
    });
  }

  async #lodge(member: ChannelMember, message: LodgeRegionsMessage, fds: Fd[]): Promise<void> {
    const found = this.table.find(member, message.attachment);
    if (found === undefined) {
      for (const fd of fds) this.#deps.native.discard(fd);
      return;
    }
    const { channel, attachment } = found;
    try {
      await this.#lodger.lodge(channel, attachment, message, fds);
    } catch (err) {
      const error = toShimmyError(err);
      if (error.code === "SHIMMY_ERR_INTERNAL") this.#deps.log.error({ err }, "lodging failed");
      const isThere = this.table.find(member, attachment.id) !== undefined;
      if (isThere) this.#introducer.expel(channel, attachment, error);
    }
    this.#changed(channel);
  }

  #receiveSmall(
    member: ChannelMember,
    message: Exclude<
      ChannelClientMessage,
      AttachChannelMessage | ReattachChannelMessage | LodgeRegionsMessage
    >,
  ): void {
    const found = this.table.find(member, message.attachment);
    // The agent may have ended it while the message was on its way.
    if (found === undefined) return;
    const { channel, attachment } = found;
    const side = message.type === "linkGone" ? "writer" : "reader";
    if (message.type === "detachChannel") {
      this.#introducer.leave(channel, attachment);
    } else if (ROLES[attachment.role].side !== side) {
      throw new ShimmyError("SHIMMY_ERR_PROTOCOL", `${message.type} is for ${side}s`);
    } else if (message.type === "linkGone") {
      const ring = channel.ring(message.generation);
      const link = ring?.writer === attachment ? ring.links.get(message.number) : undefined;
      if (ring !== undefined && link !== undefined) {
        this.#introducer.unlink(channel, ring, link, attachment);
      }
    } else {
      this.#finish(channel, attachment, message.generation);
    }
    this.#changed(channel);
  }

  /**
   * A reader has read a ring to its end. Where its writer is here all the same, the reader saw the
   * doorbell hang up before we see the end of the connection, or for another reason: it is offered the
   * ring again, so that nothing written from now on is lost.
   */
  #finish(channel: Channel, reader: Attachment, generation: number): void {
    const mine = channel.linksOf(reader).find(({ ring }) => ring.generation === generation);
    if (mine === undefined) return;
    if (mine.ring.writer === undefined) {
      reader.finished.add(generation);
      mine.ring.isFinished = channel.isLockBased;
    }
    this.#introducer.unlink(channel, mine.ring, mine.link, reader);
  }

  #changed(channel: Channel): void {
    this.#introducer.settle(channel);
    this.table.forgetLeft();
    this.#records.changed(channel);
  }

  #collect(channel: Channel): void {
    const { rings, topic, origin, maker } = channel;
    // What somebody asked for is there, and counts for who asked, until it is deleted.
    const isKept = origin === "request" && maker !== undefined;
    if (isKept && rings.length === 0) return;
    this.#deps.log.info({ topic: channel.key, rings: rings.length, isKept }, "channel collected");
    if (isKept) channel.close();
    else this.table.remove(channel);
    if (origin === "attachment") this.#records.forget(topic);
    else this.#records.cleared(topic);
  }

  /** A declaration that says otherwise by now makes another channel. */
  #followDeclaration(channel: Channel): void {
    const { topic, record } = channel;
    const declared = this.#catalog.topics.declared(topic);
    if (declared === undefined) return;
    const isSame = (this.#catalog.topics.idOf(topic) ?? record.id) === record.id;
    if (isSame && haveSameParameters(declared, record.parameters)) return;
    this.#expelAll(channel, "the topic is declared with other parameters");
    this.table.remove(channel);
    this.#records.forget(topic);
  }

  #expelAll(channel: Channel, message: string): void {
    const error = new ShimmyError("SHIMMY_ERR_CHANNEL_IN_USE", message);
    for (const each of [...channel.attachments]) this.#introducer.expel(channel, each, error);
  }

  #requireUnused(channel: Channel | undefined, isForced: boolean): void {
    if (channel === undefined || channel.attachments.length === 0 || isForced) return;
    const pods = channel.attachments.map(
      ({ pod: { namespace, name }, role }) => `${namespace}/${name} (${role})`,
    );
    throw new ShimmyError(
      "SHIMMY_ERR_CHANNEL_IN_USE",
      `topic ${channel.key} is attached by ${[...new Set(pods)].slice(0, 8).join(", ")}`,
    );
  }

  /** What is no record of a channel can be deleted as well. */
  async #requireRecord(topic: Topic): Promise<void> {
    try {
      if ((await this.#deps.registry.find(topic)) !== undefined) return;
    } catch (err) {
      if (toShimmyError(err).code === "SHIMMY_ERR_REGISTRY_RECORD") return;
      throw err;
    }
    throw new ShimmyError("SHIMMY_ERR_NOT_FOUND", `topic ${topicKey(topic)} has no channel`);
  }

  #requireRole(
    pod: CatalogPod,
    topic: Topic,
    { role, type }: AttachChannelMessage | ReattachChannelMessage,
  ): void {
    const { topics, rules } = this.#catalog;
    const reason = topics.check(pod, topic, ROLES[role].side);
    if (reason !== undefined) throw new TopicDeniedError(topic, reason);
    // What was granted before is not taken away because nothing is heard just now.
    if (type === "attachChannel" && rules.isStale) {
      throw new TopicDeniedError(topic, "policy_unknown");
    }
  }

  #judge(topic: Topic, { pod, role }: Attachment): TopicDeniedError["reason"] | undefined {
    const found = this.#catalog.pods.get(pod.uid);
    if (found === undefined) return "no_role";
    return this.#catalog.topics.check(found, topic, ROLES[role].side);
  }

  #podOf({ pod }: ChannelMember): CatalogPod {
    const found = this.#catalog.pods.get(pod);
    if (found !== undefined) return found;
    throw new ShimmyError("SHIMMY_ERR_NOT_FOUND", `pod ${pod} is not in the catalog any more`);
  }

  #requestsOf(pod: string): TokenBucket {
    let bucket = this.#requests.get(pod);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#deps.quotas.channelRequests, this.#deps.clock);
      this.#requests.set(pod, bucket);
    }
    return bucket;
  }
}

/** @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` when it is no channel that could have been. */
function recordOf(info: ChannelInfo, topic: Topic): ChannelRecord {
  const { id, kind, blocks, blockBytes, readers, timeToLiveMs, maxLoans } = info;
  const parameters = { kind, blocks, blockBytes, readers, timeToLiveMs, maxLoans };
  try {
    return parseRecord(encodeRecord({ topic, id, parameters }), topic);
  } catch (err) {
    throw new ShimmyError("SHIMMY_ERR_PROTOCOL", messageOf(err), { cause: err });
  }
}

function mismatch(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_CHANNEL_MISMATCH", message);
}
