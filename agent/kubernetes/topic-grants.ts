// Who may write and read topics in a cluster: what SharedMemoryObjects of the topic's own namespace
// say, and nothing else. A topic has the name of its object.
import { createHash } from "node:crypto";

import { ShimmyError } from "../../common/errors.ts";
import { matchesSelector } from "../../common/kubernetes/objects.ts";
import type {
  ChannelRoleSpec,
  SharedMemoryObject,
} from "../../common/kubernetes/shared-memory-object.ts";
import type { TopicReason } from "../../common/reasons.ts";
import type { CatalogPod } from "../catalog.ts";
import { resolveParameters, type ChannelParameters } from "../channels/parameters.ts";
import { topicKey, type Topic } from "../channels/topic.ts";
import type { TopicRules, TopicSide } from "../channels/topic-rules.ts";
import type { LocalPod } from "./local-pod.ts";

/** The channel of one object. */
export interface ObjectChannel {
  readonly topic: Topic;
  /** Made of the object and the parameters, so that an agent that keeps nothing finds it again. */
  readonly id: string;
  readonly parameters: ChannelParameters;
  readonly writers: ChannelRoleSpec;
  readonly readers: ChannelRoleSpec;
}

/**
 * Keeps what an object says of its channel.
 *
 * @returns Nothing when it makes none.
 * @throws {@link ShimmyError} `SHIMMY_ERR_KUBERNETES_API` when no channel can be made of it.
 */
export function takeChannel({ metadata, spec }: SharedMemoryObject): ObjectChannel | undefined {
  const { publishers, subscribers } = spec;
  if (spec.type === undefined || publishers === undefined || subscribers === undefined) {
    return undefined;
  }
  try {
    const parameters = resolveParameters(requestOf(spec));
    return {
      topic: { namespace: metadata.namespace ?? "", name: metadata.name },
      id: channelIdOf(metadata.uid ?? "", parameters),
      parameters,
      writers: publishers,
      readers: subscribers,
    };
  } catch (err) {
    throw new ShimmyError("SHIMMY_ERR_KUBERNETES_API", "no channel can be made of it", {
      cause: err,
    });
  }
}

function requestOf(spec: SharedMemoryObject["spec"]): object {
  const { type, capacity = {}, readers, timeToLiveMilliseconds: timeToLiveMs } = spec;
  if (type === "Stream") return { ...capacity, kind: "lock" };
  const given = Object.entries({ readers, timeToLiveMs }).filter(
    ([, value]) => value !== undefined,
  );
  return { ...capacity, kind: "lockfree", ...Object.fromEntries(given) };
}

/** What {@link KubernetesTopicRules} are made of. */
export interface TopicSources {
  readonly channels: Iterable<ObjectChannel>;
  /** Pods of this node, by UID. */
  readonly pods: ReadonlyMap<string, Pick<LocalPod, "namespace" | "labels" | "containers">>;
}

/** See the top of the file. */
export class KubernetesTopicRules implements TopicRules {
  readonly #channels: ReadonlyMap<string, ObjectChannel>;
  readonly #pods: TopicSources["pods"];

  constructor({ channels, pods }: TopicSources) {
    this.#channels = new Map([...channels].map((each) => [topicKey(each.topic), each]));
    this.#pods = pods;
  }

  check({ uid }: CatalogPod, topic: Topic, side: TopicSide): TopicReason | undefined {
    const channel = this.#channels.get(topicKey(topic));
    const pod = this.#pods.get(uid);
    if (pod === undefined) return "no_role";
    // Whether there is such a topic is not told to who could not use it.
    if (channel === undefined) {
      return pod.namespace === topic.namespace ? "not_declared" : "other_namespace";
    }
    const who = side === "writer" ? channel.writers : channel.readers;
    const isOurs = pod.namespace === topic.namespace;
    if (!isOurs && who.allowedNamespaces?.includes(pod.namespace) !== true)
      return "other_namespace";
    return isMeant(pod, who) ? undefined : "no_role";
  }

  checkOwner(pod: CatalogPod, topic: Topic): TopicReason | undefined {
    if (pod.namespace !== topic.namespace) return "other_namespace";
    const writer = this.check(pod, topic, "writer");
    return writer === undefined ? undefined : this.check(pod, topic, "reader");
  }

  idOf(topic: Topic): string | undefined {
    return this.#channels.get(topicKey(topic))?.id;
  }

  declared(topic: Topic): ChannelParameters | undefined {
    return this.#channels.get(topicKey(topic))?.parameters;
  }
}

/** From 1 to 2^64 - 1; the same for the same object and parameters. */
function channelIdOf(uid: string, parameters: ChannelParameters): string {
  const text = JSON.stringify([uid, Object.entries(parameters).sort()]);
  const id = createHash("sha256").update(text).digest().readBigUInt64LE();
  return String(id === 0n ? 1n : id);
}

/** A role that says nobody in particular is nobody's. */
function isMeant(
  pod: Pick<LocalPod, "labels" | "containers">,
  { containers, podSelector }: ChannelRoleSpec,
): boolean {
  if (containers === undefined && podSelector === undefined) return false;
  if (podSelector !== undefined && !matchesSelector(podSelector, pod.labels)) return false;
  return containers === undefined || containers.some((name) => pod.containers.includes(name));
}
