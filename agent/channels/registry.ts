import type { HealthReply } from "../api.ts";
import type { ChannelRecord, RegionsRecord } from "./record.ts";
import { topicKey, type Topic } from "./topic.ts";

/** A registry as health shows it. */
export type RegistryState = HealthReply["registry"];

/**
 * Where channels are found by topic. A record is a hint: what it says is checked by who acts on it,
 * and channels that are in use do not need it.
 *
 * Each method throws {@link ShimmyError} `SHIMMY_ERR_REGISTRY_UNAVAILABLE` when the registry cannot
 * be asked, within its own time-out.
 */
export interface ChannelRegistry {
  readonly state: RegistryState;
  /**
   * The record of a topic, if there is one.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_REGISTRY_RECORD` when what is there is none.
   */
  find(topic: Topic): Promise<ChannelRecord | undefined>;
  /**
   * Puts a record where none is.
   *
   * @returns The record there is now: this one, or that of who came first.
   * @throws {@link ShimmyError} `SHIMMY_ERR_REGISTRY_RECORD` when what is there is none.
   */
  create(record: ChannelRecord): Promise<ChannelRecord>;
  /** Puts a record, whatever is there. */
  put(record: ChannelRecord): Promise<void>;
  /** Removes the record of a topic and what this node has of it. */
  remove(topic: Topic): Promise<void>;
  /** Says what this node has of a channel. */
  putRegions(topic: Topic, regions: RegionsRecord): Promise<void>;
  /** Lets go of it. */
  close(): void;
}

/** A registry of this process alone. */
export class MemoryRegistry implements ChannelRegistry {
  readonly state: RegistryState = { kind: "memory" };
  readonly #records = new Map<string, ChannelRecord>();

  find(topic: Topic): Promise<ChannelRecord | undefined> {
    return Promise.resolve(this.#records.get(topicKey(topic)));
  }

  create(record: ChannelRecord): Promise<ChannelRecord> {
    const key = topicKey(record.topic);
    const found = this.#records.get(key) ?? record;
    this.#records.set(key, found);
    return Promise.resolve(found);
  }

  put(record: ChannelRecord): Promise<void> {
    this.#records.set(topicKey(record.topic), record);
    return Promise.resolve();
  }

  remove(topic: Topic): Promise<void> {
    this.#records.delete(topicKey(topic));
    return Promise.resolve();
  }

  putRegions(): Promise<void> {
    // Nobody but this process could read it, and it has the regions.
    return Promise.resolve();
  }

  close(): void {
    this.#records.clear();
  }
}
