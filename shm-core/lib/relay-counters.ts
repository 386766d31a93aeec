import type { EndReason, FallbackReason } from "../../common/reasons.ts";
import type { NativeCounterLayout } from "./native.ts";

/** A latency histogram; counts since the start. */
export interface RelayHistogram {
  /** Upper bounds of the buckets, in µs, ascending. */
  readonly boundsMicros: readonly number[];
  /** How many fell in each bucket, not cumulative; one more than bounds, for what is above. */
  readonly buckets: readonly number[];
  readonly sumNanos: number;
}

/** What a relay has done since it was started. Counts stay exact up to 2^53. */
export interface RelayCounters {
  /** By name, in the order of shm-core/relay/counters.h, which says what each means. */
  readonly values: ReadonlyMap<string, number>;
  /** Connections that went over TCP, by reason. */
  readonly fallbacks: Readonly<Record<FallbackReason, number>>;
  /** Streams and relayed connections that ended, by reason. */
  readonly ends: Readonly<Record<EndReason, number>>;
  /** From the accept of an application's connection to an established stream. */
  readonly openLatency: RelayHistogram;
  /** From the accept to the moment an OPEN, or a TCP connect, is sent. */
  readonly queueLatency: RelayHistogram;
}

/** How many numbers a snapshot has. */
export function snapshotLength(layout: NativeCounterLayout): number {
  const histogram = layout.latencyBoundsMicros.length + 2;
  return layout.names.length + layout.fallbacks.length + layout.ends.length + 2 * histogram;
}

/** Takes a native snapshot apart. Its order is described in src/relay_counters.h. */
export function toRelayCounters(
  layout: NativeCounterLayout,
  snapshot: BigInt64Array,
): RelayCounters {
  let next = 0;
  const take = (count: number): number[] =>
    Array.from(snapshot.subarray(next, (next += count)), Number);
  const takeNamed = <Name extends string>(names: readonly string[]): Record<Name, number> => {
    const numbers = take(names.length);
    return Object.fromEntries(names.map((name, i) => [name, numbers[i]])) as Record<Name, number>;
  };
  const takeHistogram = (): RelayHistogram => {
    const boundsMicros = layout.latencyBoundsMicros;
    const buckets = take(boundsMicros.length + 1);
    return { boundsMicros, buckets, sumNanos: take(1)[0] ?? 0 };
  };
  // Evaluated in the order of the array.
  return {
    values: new Map(Object.entries(takeNamed(layout.names))),
    fallbacks: takeNamed<FallbackReason>(layout.fallbacks),
    ends: takeNamed<EndReason>(layout.ends),
    openLatency: takeHistogram(),
    queueLatency: takeHistogram(),
  };
}
