import { TOPIC_HTTP_REFUSALS, type TopicHttpRefusal } from "../../common/reasons.ts";

/** How messages leave the sidecar. */
export const TOPIC_PROTOCOLS = ["sse", "ndjson", "websocket", "push"] as const;

/** One of {@link TOPIC_PROTOCOLS}. */
export type TopicProtocol = (typeof TOPIC_PROTOCOLS)[number];

/** What topics over HTTP did since the sidecar started. */
export interface TopicCounters {
  published: number;
  publishedBytes: number;
  delivered: number;
  deliveredBytes: number;
  /** Known number of messages that subscribers missed. */
  missed: number;
  /** How often it is not known how many they missed. */
  missedUnknown: number;
  /** Given to another client because the first one had gone. */
  redelivered: number;
  pushFailures: number;
  readonly subscribers: Record<TopicProtocol, number>;
  readonly refused: Record<TopicHttpRefusal, number>;
}

/** Counters at zero. */
export function createTopicCounters(): TopicCounters {
  return {
    published: 0,
    publishedBytes: 0,
    delivered: 0,
    deliveredBytes: 0,
    missed: 0,
    missedUnknown: 0,
    redelivered: 0,
    pushFailures: 0,
    subscribers: { sse: 0, ndjson: 0, websocket: 0, push: 0 },
    refused: Object.fromEntries(TOPIC_HTTP_REFUSALS.map((reason) => [reason, 0])) as Record<
      TopicHttpRefusal,
      number
    >,
  };
}
