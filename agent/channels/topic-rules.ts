import type { TopicReason } from "../../common/reasons.ts";
import type { CatalogPod } from "../catalog.ts";
import type { ChannelParameters } from "./parameters.ts";
import { topicKey, type Topic } from "./topic.ts";

/** What policy grants: to write a topic, or to read it. */
export type TopicSide = "writer" | "reader";

/** Who may do what with which topic. */
export interface TopicRules {
  /** @returns Why the pod may not write or read the topic, or `undefined` when it may. */
  check(pod: CatalogPod, topic: Topic, side: TopicSide): TopicReason | undefined;
  /** @returns Why the pod may not make or delete the topic's channel, or `undefined` when it may. */
  checkOwner(pod: CatalogPod, topic: Topic): TopicReason | undefined;
  /** What the topic's channel is to be made with; `undefined` when that is left to who makes it. */
  declared(topic: Topic): ChannelParameters | undefined;
  /** The id of a declared topic's channel; `undefined` when it is left to who makes it. */
  idOf(topic: Topic): string | undefined;
}

/** An entry of `topics` in a catalog file, its pods by UID. */
export interface TopicEntry {
  readonly topic: Topic;
  /** UIDs; `undefined`: any pod of the topic's namespace. */
  readonly writers: ReadonlySet<string> | undefined;
  readonly readers: ReadonlySet<string> | undefined;
  readonly parameters: ChannelParameters | undefined;
}

/**
 * The rules of a catalog file. A topic without an entry may be made, written and read by every pod
 * of its namespace, and by no other.
 */
export class FileTopicRules implements TopicRules {
  readonly #entries: ReadonlyMap<string, TopicEntry>;

  constructor(entries: readonly TopicEntry[]) {
    this.#entries = new Map(entries.map((entry) => [topicKey(entry.topic), entry]));
  }

  check(pod: CatalogPod, topic: Topic, side: TopicSide): TopicReason | undefined {
    const entry = this.#entries.get(topicKey(topic));
    const pods = side === "writer" ? entry?.writers : entry?.readers;
    if (pods === undefined) {
      return pod.namespace === topic.namespace ? undefined : "other_namespace";
    }
    return pods.has(pod.uid) ? undefined : "no_role";
  }

  checkOwner(pod: CatalogPod, topic: Topic): TopicReason | undefined {
    if (pod.namespace !== topic.namespace) return "other_namespace";
    const roles = [this.check(pod, topic, "writer"), this.check(pod, topic, "reader")];
    return roles.includes(undefined) ? undefined : "no_role";
  }

  idOf(): undefined {
    return undefined;
  }

  declared(topic: Topic): ChannelParameters | undefined {
    return this.#entries.get(topicKey(topic))?.parameters;
  }
}
