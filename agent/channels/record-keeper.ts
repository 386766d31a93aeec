import type { Clock } from "../../common/clock.ts";
import { toShimmyError } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import type { AgentMetrics } from "../metrics.ts";
import type { Channel } from "./channel.ts";
import type { ChannelRegistry } from "./registry.ts";
import { regionsRecord } from "./regions-record.ts";
import { topicKey, type Topic } from "./topic.ts";

/** What a {@link RecordKeeper} works with. */
export interface RecordKeeperDeps {
  readonly registry: ChannelRegistry;
  readonly clock: Clock;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

/** A change is written after this time, with those that follow it. */
const GATHER_MS = 100;
/** What is in use is put on record again so often: the registry may have lost it. */
const REFRESH_MS = 30_000;

/**
 * Keeps the registry's records of channels in use as the channels are. Nobody waits for it: a
 * registry that is away gets everything once it is back.
 */
export class RecordKeeper {
  readonly #deps: RecordKeeperDeps;
  readonly #dirty = new Map<string, Channel>();
  /** Keys of channels whose records could not be written. */
  readonly #failed = new Set<string>();
  #isGathering = false;
  #refreshedAt: number;

  constructor(deps: RecordKeeperDeps) {
    this.#deps = deps;
    this.#refreshedAt = deps.clock.now();
  }

  /** Something of a channel changed. */
  changed(channel: Channel): void {
    this.#dirty.set(channel.key, channel);
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#deps.clock.after(GATHER_MS, () => {
      this.#isGathering = false;
      const channels = [...this.#dirty.values()];
      this.#dirty.clear();
      for (const each of channels) this.#write(each);
    });
  }

  /** Puts on record what could not be, and all of it if it is time; call it every few seconds. */
  refresh(channels: readonly Channel[]): void {
    const now = this.#deps.clock.now();
    const failed = [...this.#failed];
    this.#failed.clear();
    const isTime = now - this.#refreshedAt >= REFRESH_MS;
    if (isTime) this.#refreshedAt = now;
    for (const channel of channels) {
      if (isTime || failed.includes(channel.key)) this.#write(channel);
    }
  }

  /** What was to be written of a topic is not. */
  discard(topic: Topic): void {
    this.#dirty.delete(topicKey(topic));
    this.#failed.delete(topicKey(topic));
  }

  /** Removes the record of a topic. */
  forget(topic: Topic): void {
    this.discard(topic);
    this.#run(topic, () => this.#deps.registry.remove(topic));
  }

  /** The record stays, and nothing is held of the channel here. */
  cleared(topic: Topic): void {
    this.discard(topic);
    this.#run(topic, () => this.#deps.registry.putRegions(topic, { regions: [], waitWords: [] }));
  }

  #write(channel: Channel): void {
    const { registry } = this.#deps;
    this.#run(channel.topic, async () => {
      await registry.put(channel.record);
      await registry.putRegions(channel.topic, regionsRecord(channel));
    });
  }

  #run(topic: Topic, action: () => Promise<void>): void {
    action().catch((err: unknown) => {
      this.#failed.add(topicKey(topic));
      const { code, message } = toShimmyError(err);
      this.#deps.metrics.registryErrors.inc({ code });
      this.#deps.log.debug(
        { topic: topicKey(topic), code, problem: message },
        "record not written",
      );
    });
  }
}
