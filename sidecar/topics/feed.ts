import type { TopicCounters, TopicProtocol } from "./counters.ts";
import { Position, type Missed, type Resume } from "./position.ts";
import type { TopicEvent } from "./render.ts";
import type { Subscription } from "./shared-consumer.ts";
import type { Delivery } from "./transport.ts";

/** Where events go. */
export interface Sink {
  /**
   * Resolves when the event has arrived, as far as the protocol can tell.
   *
   * @throws When it cannot any more.
   */
  send(event: TopicEvent): Promise<void>;
}

/** Options for {@link feed}. */
export interface FeedOptions {
  readonly subscription: Subscription;
  readonly sink: Sink;
  readonly protocol: TopicProtocol;
  readonly resume: Resume;
  readonly counters: TopicCounters;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Messages after which it ends. @defaultValue Infinity */
  readonly max?: number;
}

/**
 * Sends messages one after the other, each when the one before has arrived: what a slow client does not
 * take stays in the channel. Closes the subscription.
 *
 * @returns When the channel was ended, or `max` messages were sent.
 * @throws The signal's reason, or what the sink throws.
 */
export async function feed(options: FeedOptions): Promise<void> {
  const { subscription, counters, protocol } = options;
  counters.subscribers[protocol] += 1;
  try {
    await sendAll(options);
  } finally {
    counters.subscribers[protocol] -= 1;
    subscription.close();
  }
}

async function sendAll(options: FeedOptions): Promise<void> {
  const { subscription, sink, resume, counters, signal, max = Infinity } = options;
  const position = new Position();
  for (let sent = 0; sent < max;) {
    const delivery = await subscription.next(signal);
    if (delivery === undefined) {
      await sink.send({ kind: "end" });
      return;
    }
    const isShared = subscription.kind === "lock";
    const missed = isShared ? 0 : resume.check(delivery);
    if (missed !== undefined) {
      await tellGap(missed, sink, counters);
      if (!isShared) position.advance(delivery);
      await sink.send({ kind: "message", delivery, id: position.toString() });
      count(delivery, counters);
      sent += 1;
    }
    delivery.release();
  }
}

async function tellGap(missed: Missed, sink: Sink, counters: TopicCounters): Promise<void> {
  if (missed === 0) return;
  if (missed === "unknown") counters.missedUnknown += 1;
  else counters.missed += missed;
  await sink.send({ kind: "gap", missed });
}

function count({ data }: Delivery, counters: TopicCounters): void {
  counters.delivered += 1;
  counters.deliveredBytes += data.length;
}
