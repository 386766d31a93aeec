import type { Clock } from "../../common/clock.ts";
import { randomBytes } from "node:crypto";

import { ShimmyError } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import type { TopicReason } from "../../common/reasons.ts";
import type { Catalog, CatalogPod } from "../catalog.ts";
import type { Quotas } from "../quotas.ts";
import { Channel, type ChannelOrigin } from "./channel.ts";
import type { ChannelTable } from "./channel-table.ts";
import { haveSameParameters, resolveParameters, type ChannelParameters } from "./parameters.ts";
import type { ChannelRecord } from "./record.ts";
import type { ChannelRegistry } from "./registry.ts";
import { topicKey, type Topic } from "./topic.ts";

/** What a {@link ChannelFinder} works with. */
export interface ChannelFinderDeps {
  readonly table: ChannelTable;
  readonly registry: ChannelRegistry;
  readonly catalog: () => Catalog;
  readonly quotas: Quotas;
  readonly log: Logger;
  readonly clock: Clock;
}

/** What a channel is looked for with. */
export interface Wanted {
  readonly topic: Topic;
  /** Who wants it; `undefined` for an operator. */
  readonly pod: CatalogPod | undefined;
  /** Parameters to make it with; unchecked. */
  readonly request?: unknown;
  readonly origin: ChannelOrigin;
}

/** Who makes channels on the node-wide socket; no pod has this UID. */
const OPERATOR = "";
/** Registry look-ups that one pod may have waiting. */
const MAX_WAITING_PER_POD = 16;
/** 2026-01-01: generations and numbers are seconds since then, at first. */
const EPOCH_SECONDS = 1_767_225_600;

/**
 * Finds channels by topic: in use here, declared, or by the registry's record.
 *
 *   I1  parameters are those of the owner's declaration if there is one, whatever a record says
 *   I2  a topic is looked for once at a time, however many want it
 */
export class ChannelFinder {
  readonly #deps: ChannelFinderDeps;
  readonly #looking = new Map<string, Promise<Channel>>();
  readonly #waiting = new Map<string, number>();

  constructor(deps: ChannelFinderDeps) {
    this.#deps = deps;
  }

  /**
   * The channel of a topic; made when there is none, if it is declared or asked for by who may.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_NOT_FOUND` when there is none and nothing to make it of.
   * @throws {@link ShimmyError} `SHIMMY_ERR_TOPIC_DENIED` when it is not for this pod to make.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for parameters out of bounds.
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` beyond the pod's quota.
   * @throws {@link ShimmyError} `SHIMMY_ERR_REGISTRY_UNAVAILABLE` or `SHIMMY_ERR_REGISTRY_RECORD`.
   */
  async find(wanted: Wanted): Promise<Channel> {
    const key = topicKey(wanted.topic);
    for (let other = this.#looking.get(key); other !== undefined; other = this.#looking.get(key)) {
      // Why somebody else did not find it need not be why we do not.
      await other.catch(() => undefined);
    }
    const known = this.#deps.table.get(key);
    if (known !== undefined) return known;
    const waiter = wanted.pod?.uid ?? "";
    const waiting = this.#waiting.get(waiter) ?? 0;
    if (waiting >= MAX_WAITING_PER_POD) {
      throw new ShimmyError("SHIMMY_ERR_LIMIT", "too many topics are being looked for");
    }
    this.#waiting.set(waiter, waiting + 1);
    const looking = this.#look(wanted).finally(() => {
      this.#looking.delete(key); // I2
      this.#forgetWaiter(waiter);
    });
    this.#looking.set(key, looking);
    return looking;
  }

  /** Takes a channel into use as a record has it, without asking the registry. */
  adopt(record: ChannelRecord, origin: ChannelOrigin, maker?: string): Channel {
    // A client may have shown it while the registry was asked.
    const known = this.#deps.table.get(topicKey(record.topic));
    if (known !== undefined) return known;
    const epoch = Math.floor(Date.now() / 1000) - EPOCH_SECONDS;
    const channel = new Channel(record, {
      origin,
      maker,
      epoch,
      knownAt: this.#deps.clock.now(),
    });
    this.#deps.table.add(channel);
    this.#deps.log.info(
      { topic: channel.key, channel: record.id, ...record.parameters, origin },
      "channel known",
    );
    return channel;
  }

  async #look(wanted: Wanted): Promise<Channel> {
    const { topic, pod, origin } = wanted;
    const { registry, catalog } = this.#deps;
    const declared = catalog().topics.declared(topic);
    if (declared !== undefined) {
      return this.adopt(await this.#declare(topic, declared), "declaration");
    }
    if (wanted.request === undefined) {
      const record = await registry.find(topic);
      if (record !== undefined) return this.adopt(record, "request");
      throw new ShimmyError(
        "SHIMMY_ERR_NOT_FOUND",
        `topic ${topicKey(topic)} has no channel, and no parameters to make it with were given`,
      );
    }
    const parameters = resolveParameters(wanted.request);
    this.#requireMayMake(topic, pod);
    const asked = { topic, id: newChannelId(), parameters };
    const record = await registry.create(asked);
    const isOurs = record.id === asked.id;
    return isOurs
      ? this.adopt(record, origin, pod?.uid ?? OPERATOR)
      : this.adopt(record, "request");
  }

  /** I1: what a record says otherwise is overwritten. */
  async #declare(topic: Topic, parameters: ChannelParameters): Promise<ChannelRecord> {
    const { registry, log } = this.#deps;
    const id = this.#deps.catalog().topics.idOf(topic);
    const asked = { topic, id: id ?? newChannelId(), parameters };
    const found = await registry.create(asked).catch((err: unknown) => {
      if (err instanceof ShimmyError && err.code === "SHIMMY_ERR_REGISTRY_RECORD") return undefined;
      throw err;
    });
    const isRight = found !== undefined && (id ?? found.id) === found.id;
    if (isRight && haveSameParameters(found.parameters, parameters)) return found;
    log.warn({ topic: topicKey(topic) }, "record is not as declared, and replaced");
    await registry.put(asked);
    return asked;
  }

  #requireMayMake(topic: Topic, pod: CatalogPod | undefined): void {
    const { table, catalog, quotas } = this.#deps;
    if (pod === undefined) return;
    const reason = catalog().topics.checkOwner(pod, topic);
    if (reason !== undefined) throw new TopicDeniedError(topic, reason);
    if (table.usageOf(pod.uid).channels >= quotas.channelsPerPod) {
      throw new ShimmyError(
        "SHIMMY_ERR_LIMIT",
        `pod ${pod.uid} has made ${quotas.channelsPerPod} channels`,
      );
    }
  }

  #forgetWaiter(waiter: string): void {
    const left = (this.#waiting.get(waiter) ?? 1) - 1;
    if (left === 0) this.#waiting.delete(waiter);
    else this.#waiting.set(waiter, left);
  }
}

/** Says why a topic is not for a pod. */
export class TopicDeniedError extends ShimmyError {
  readonly reason: TopicReason;

  constructor(topic: Topic, reason: TopicReason) {
    super("SHIMMY_ERR_TOPIC_DENIED", `topic ${topicKey(topic)}: ${reason}`);
    this.reason = reason;
  }
}

/** Random, from 1 to 2^64 - 1. */
function newChannelId(): string {
  for (;;) {
    const id = randomBytes(8).readBigUInt64LE();
    if (id !== 0n) return String(id);
  }
}
