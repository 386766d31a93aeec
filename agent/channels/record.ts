// What registries keep of a channel. Whoever can write to the registry can write anything into a
// record: it is read as if an enemy had written it, and is a hint only. It grants nothing.
import { Ajv } from "ajv";

import { ShimmyError } from "../../common/errors.ts";
import { parametersProblem, type ChannelParameters } from "./parameters.ts";
import { topicKey, type Topic } from "./topic.ts";

/** A channel as its topic's record has it. */
export interface ChannelRecord {
  readonly topic: Topic;
  /** Tells the regions of one channel from those of any other; a decimal number of 64 bits. */
  readonly id: string;
  readonly parameters: ChannelParameters;
}

/** One region of shared memory, for people and programs that look at the registry. */
export interface RegionRecord {
  /** `kind` of a region: whose words and whose data it has. */
  readonly kind: string;
  /** Inode of the memfd, unique on its node while it is there. */
  readonly id: string;
  readonly bytes: number;
  readonly generation: number;
  /** UID of the pod that writes it. */
  readonly writer: string;
}

/** What one node has of a channel: ids of its data and metadata regions, and of its wait words. */
export interface RegionsRecord {
  readonly regions: readonly RegionRecord[];
  /**
   * The semaphores: each a pair of counters, one in a region of either side, on which the other
   * side waits (futex).
   */
  readonly waitWords: readonly { readonly region: string; readonly word: string }[];
}

/** Longest record, in bytes. */
export const MAX_RECORD_BYTES = 4096;

const VERSION = 1;
const ID = /^[1-9]\d{0,19}$/;
const MAX_ID = 2n ** 64n - 1n;

const validate = new Ajv().compile<{
  topic: string;
  id: string;
  parameters: ChannelParameters;
}>({
  type: "object",
  properties: {
    version: { const: VERSION },
    topic: { type: "string", maxLength: 200 },
    id: { type: "string", pattern: ID.source },
    parameters: {
      type: "object",
      properties: Object.fromEntries(
        ["blocks", "blockBytes", "readers", "timeToLiveMs", "maxLoans"].map((name) => [
          name,
          { type: "integer" },
        ]),
      ),
      required: ["kind", "blocks", "blockBytes", "readers", "timeToLiveMs", "maxLoans"],
    },
  },
  required: ["version", "topic", "id", "parameters"],
  additionalProperties: false,
});

/** Writes a record. */
export function encodeRecord({ topic, id, parameters }: ChannelRecord): string {
  return JSON.stringify({ version: VERSION, topic: topicKey(topic), id, parameters });
}

/**
 * Reads the record of a topic. Any text is safe to pass.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_REGISTRY_RECORD` when it is not one of that topic.
 */
export function parseRecord(text: string, topic: Topic): ChannelRecord {
  if (Buffer.byteLength(text) > MAX_RECORD_BYTES) throw refused(topic, "it is too long");
  const value = parseJson(text, topic);
  if (!validate(value)) {
    const [error] = validate.errors ?? [];
    throw refused(topic, `${error?.instancePath ?? ""} ${error?.message ?? "is invalid"}`.trim());
  }
  if (value.topic !== topicKey(topic)) throw refused(topic, "it is that of another topic");
  if (!isChannelId(value.id)) throw refused(topic, "/id has more than 64 bits");
  const parameters = wholeParameters(value.parameters, topic);
  return { topic, id: value.id, parameters };
}

/** Whether a text is a channel's id: a decimal number from 1 to 2^64 - 1. */
function isChannelId(text: string): boolean {
  return ID.test(text) && BigInt(text) <= MAX_ID;
}

/** Takes the parameters of a lock-based channel without those that it has not. */
function wholeParameters(given: ChannelParameters, topic: Topic): ChannelParameters {
  const { readers, timeToLiveMs, ...rest } = given;
  const isLock = given.kind === "lock";
  const problem = parametersProblem(isLock ? rest : given);
  if (problem !== undefined) throw refused(topic, problem);
  if (isLock && (readers !== 1 || timeToLiveMs !== 0)) {
    throw refused(topic, "readers and timeToLiveMs are for lockfree channels only");
  }
  return given;
}

function parseJson(text: string, topic: Topic): unknown {
  try {
    return JSON.parse(text);
  } catch (err) {
    throw refused(topic, "it is not JSON", err);
  }
}

function refused(topic: Topic, problem: string, cause?: unknown): ShimmyError {
  return new ShimmyError(
    "SHIMMY_ERR_REGISTRY_RECORD",
    `record of topic ${topicKey(topic)}: ${problem}`,
    { cause },
  );
}
