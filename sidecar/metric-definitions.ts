import { readdirSync } from "node:fs";

import {
  END_REASONS,
  FALLBACK_REASONS,
  SESSION_END_REASONS,
  TOPIC_HTTP_REFUSALS,
} from "../common/reasons.ts";
import type { SessionEndReason } from "../common/reasons.ts";
import { VERSION } from "../common/version.ts";
import type { RelayCounters, RelayHistogram } from "../shm-core/lib/relay.ts";
import { TOPIC_PROTOCOLS, type TopicCounters } from "./topics/counters.ts";

/** What all metrics of one scrape are read from: taken once, so that they agree. */
export interface MetricsSnapshot {
  readonly relay: RelayCounters;
  readonly sessionEnds: Readonly<Record<SessionEndReason, number>>;
  readonly ringBudgetBytes: number;
  readonly agentConnected: boolean;
  readonly agentConnects: number;
  readonly isReady: boolean;
  /** Of topics over HTTP; all 0 where they are off. */
  readonly topics: TopicCounters;
  /** Endpoints of all upstreams, by how they are reached. */
  readonly endpoints: { readonly shm: number; readonly tcp: number };
}

/** One value of a metric. */
export interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Of a histogram's parts. */
  readonly metricName?: string;
}

/** A metric: its documentation, and how it is read. Label sets are constant and small. */
export interface MetricDefinition {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** Its labels and their values, as `name: value, value; name: …`; empty for none. */
  readonly labels: string;
  readonly read: (snapshot: MetricsSnapshot) => readonly Sample[];
}

/** A counter name of shm-core/relay/counters.h, and the labels it stands for. */
type NativeValues = readonly (readonly [
  counter: string,
  labels?: Readonly<Record<string, string>>,
])[];

/** Every metric of the sidecar, in the order of docs/reference/metrics.md. */
export const SIDECAR_METRICS: readonly MetricDefinition[] = [
  gauge(
    "shimmy_sidecar_info",
    "Always 1; the version is a label.",
    "version: of the package",
    () => [{ value: 1, labels: { version: VERSION } }],
  ),
  gauge("shimmy_sidecar_ready", "Whether /readyz says so: 1 or 0.", "", (snapshot) => [
    { value: Number(snapshot.isReady) },
  ]),
  gauge("shimmy_sidecar_agent_connected", "Whether there is an agent: 1 or 0.", "", (snapshot) => [
    { value: Number(snapshot.agentConnected) },
  ]),
  counter(
    "shimmy_sidecar_agent_connects_total",
    "Connections to the agent that it welcomed.",
    "",
    ({ agentConnects }) => [{ value: agentConnects }],
  ),
  gauge(
    "shimmy_upstream_endpoints",
    "Pods behind all upstreams, by how they are reached.",
    "transport: shm, tcp",
    ({ endpoints: { shm, tcp } }) => [
      { value: shm, labels: { transport: "shm" } },
      { value: tcp, labels: { transport: "tcp" } },
    ],
  ),

  native(
    "shimmy_accepted_connections_total",
    "Connections accepted from the pod's application.",
    "",
    [["outbound_accepted"]],
  ),
  native(
    "shimmy_connections_total",
    "Connections that were carried, by who opened them and what carried them.",
    "direction: outbound, inbound; transport: shm, tcp",
    [
      ["outbound_shm", { direction: "outbound", transport: "shm" }],
      ["outbound_tcp", { direction: "outbound", transport: "tcp" }],
      ["inbound_shm", { direction: "inbound", transport: "shm" }],
    ],
  ),
  native(
    "shimmy_refused_connections_total",
    "Connections that were not carried: no endpoint answered, a limit was reached, or a peer asked for what it may not have or the application refused.",
    "direction: outbound, inbound; cause: no_endpoint, limit, refused",
    [
      ["outbound_failed", { direction: "outbound", cause: "no_endpoint" }],
      ["outbound_refused", { direction: "outbound", cause: "limit" }],
      ["inbound_refused", { direction: "inbound", cause: "refused" }],
    ],
  ),
  nativeGauge("shimmy_open_connections", "Connections open now.", "transport: shm, tcp", [
    ["active_shm", { transport: "shm" }],
    ["active_tcp", { transport: "tcp" }],
  ]),
  native(
    "shimmy_bytes_total",
    "Payload bytes moved, seen from the pod's application.",
    "direction: sent, received; transport: shm, tcp",
    [
      ["bytes_to_shm", { direction: "sent", transport: "shm" }],
      ["bytes_from_shm", { direction: "received", transport: "shm" }],
      ["bytes_to_tcp", { direction: "sent", transport: "tcp" }],
      ["bytes_from_tcp", { direction: "received", transport: "tcp" }],
    ],
  ),
  counter(
    "shimmy_fallbacks_total",
    "Connections that went over plain TCP instead of shared memory.",
    "reason: see reasons.md",
    ({ relay }) =>
      FALLBACK_REASONS.map((reason) => ({ value: relay.fallbacks[reason], labels: { reason } })),
  ),
  counter(
    "shimmy_connection_ends_total",
    "Streams and relayed connections that ended.",
    "reason: see reasons.md",
    ({ relay }) => END_REASONS.map((reason) => ({ value: relay.ends[reason], labels: { reason } })),
  ),
  native("shimmy_connect_retries_total", "Connections tried again on another endpoint.", "", [
    ["connect_retries"],
  ]),
  native(
    "shimmy_accept_errors_total",
    "Failed accepts, as when the process is out of descriptors.",
    "",
    [["accept_errors"]],
  ),

  nativeGauge("shimmy_sessions", "Sessions with other sidecars.", "", [["active_sessions"]]),
  counter(
    "shimmy_session_ends_total",
    "Sessions that ended.",
    "reason: see reasons.md",
    ({ sessionEnds }) =>
      SESSION_END_REASONS.map((reason) => ({ value: sessionEnds[reason], labels: { reason } })),
  ),
  native(
    "shimmy_session_messages_refused_total",
    "Messages of other sidecars that broke the protocol.",
    "",
    [["session_messages_refused"]],
  ),

  nativeGauge(
    "shimmy_ring_bytes",
    "Shared memory of rings: `own` is paid for here, `peer` is mapped from peers.",
    "owner: own, peer",
    [
      ["ring_bytes_own", { owner: "own" }],
      ["ring_bytes_peer", { owner: "peer" }],
    ],
  ),
  gauge(
    "shimmy_ring_budget_bytes",
    "What own rings may add up to; occupancy is own ring bytes over this.",
    "",
    ({ ringBudgetBytes }) => [{ value: ringBudgetBytes }],
  ),
  nativeGauge("shimmy_pooled_ring_pairs", "Pairs of rings kept for the next stream.", "", [
    ["pairs_pooled"],
  ]),
  native("shimmy_reused_ring_pairs_total", "Streams that got a pair kept from another.", "", [
    ["pairs_reused"],
  ]),
  native("shimmy_publishes_total", "Times a writer made bytes visible to its reader.", "", [
    ["publishes"],
  ]),
  native("shimmy_bells_total", "Wake-up bytes: few per publish is good.", "action: sent, eaten", [
    ["bells_sent", { action: "sent" }],
    ["bells_eaten", { action: "eaten" }],
  ]),
  native(
    "shimmy_plugs_total",
    "Times a writer waited for room in a full ring, or stopped waiting.",
    "action: sent, taken_back",
    [
      ["plugs_sent", { action: "sent" }],
      ["plugs_taken_back", { action: "taken_back" }],
    ],
  ),
  native(
    "shimmy_replaces_total",
    "Rings replaced by larger or smaller ones; `held_back` ones could not be.",
    "action: sent, taken, held_back",
    [
      ["replaces_sent", { action: "sent" }],
      ["replaces_taken", { action: "taken" }],
      ["replaces_held_back", { action: "held_back" }],
    ],
  ),

  native(
    "shimmy_relay_waits_total",
    "Waits of relay threads: for as long as it takes, or bounded without asking for bells.",
    "kind: sleep, nap",
    [
      ["sleeps", { kind: "sleep" }],
      ["naps", { kind: "nap" }],
    ],
  ),
  native(
    "shimmy_relay_moves_total",
    "Moves of relay threads to the CPU of those who feed them, when CPUs are short.",
    "",
    [["moves", {}]],
  ),
  native(
    "shimmy_relay_spins_total",
    "Spins of relay threads, by whether they found work.",
    "result: hit, miss",
    [
      ["spin_hits", { result: "hit" }],
      ["spin_misses", { result: "miss" }],
    ],
  ),
  counter("shimmy_relay_spin_seconds_total", "Time spent spinning.", "", ({ relay }) => [
    { value: (relay.values.get("spin_nanos") ?? 0) / 1e9 },
  ]),
  histogram(
    "shimmy_stream_setup_seconds",
    "From the accept of an application's connection to an established stream.",
    ({ relay }) => relay.openLatency,
  ),
  histogram(
    "shimmy_queueing_seconds",
    "From the accept of an application's connection to the moment the peer is asked.",
    ({ relay }) => relay.queueLatency,
  ),

  counter(
    "shimmy_topic_messages_total",
    "Messages of topics over HTTP, seen from the pod's application.",
    "direction: published, delivered",
    ({ topics }) => [
      { value: topics.published, labels: { direction: "published" } },
      { value: topics.delivered, labels: { direction: "delivered" } },
    ],
  ),
  counter(
    "shimmy_topic_bytes_total",
    "Bytes of these messages.",
    "direction: published, delivered",
    ({ topics }) => [
      { value: topics.publishedBytes, labels: { direction: "published" } },
      { value: topics.deliveredBytes, labels: { direction: "delivered" } },
    ],
  ),
  gauge(
    "shimmy_topic_subscribers",
    "Clients that read topics over HTTP now.",
    "protocol: sse, ndjson, websocket, push",
    ({ topics }) =>
      TOPIC_PROTOCOLS.map((protocol) => ({
        value: topics.subscribers[protocol],
        labels: { protocol },
      })),
  ),
  counter(
    "shimmy_topic_refused_total",
    "Requests to topics over HTTP that were refused.",
    "reason: see reasons.md",
    ({ topics }) =>
      TOPIC_HTTP_REFUSALS.map((reason) => ({ value: topics.refused[reason], labels: { reason } })),
  ),
  counter(
    "shimmy_topic_missed_total",
    "Messages that clients of lock-free topics missed, where it is known how many.",
    "",
    ({ topics }) => [{ value: topics.missed }],
  ),
  counter(
    "shimmy_topic_gaps_unknown_total",
    "Gaps of unknown size, as behind a publisher's restart.",
    "",
    ({ topics }) => [{ value: topics.missedUnknown }],
  ),
  counter(
    "shimmy_topic_redelivered_total",
    "Messages of lock-based topics given to another client, because the first one had gone.",
    "",
    ({ topics }) => [{ value: topics.redelivered }],
  ),
  counter(
    "shimmy_topic_push_failures_total",
    "Messages pushed to the application that it did not take; they are sent again.",
    "",
    ({ topics }) => [{ value: topics.pushFailures }],
  ),

  counter(
    "process_cpu_seconds_total",
    "User and system CPU time of the process, relay threads included.",
    "",
    () => {
      const { user, system } = process.cpuUsage();
      return [{ value: (user + system) / 1e6 }];
    },
  ),
  gauge("process_resident_memory_bytes", "Resident memory of the process.", "", () => [
    { value: process.memoryUsage.rss() },
  ]),
  gauge("process_open_fds", "Open file descriptors of the process.", "", () => [
    { value: readdirSync("/proc/self/fd").length },
  ]),
  gauge("process_start_time_seconds", "Start of the process, in Unix time.", "", () => [
    { value: performance.timeOrigin / 1000 },
  ]),
];

/** The metrics as a Markdown table, as docs/reference/metrics.md shows them. */
export function describeMetrics(definitions: readonly MetricDefinition[]): string {
  const rows = definitions.map(({ name, type, labels, help }) => {
    const shown = labels.replaceAll(/(^|; )(\w+):/g, "$1`$2`:");
    return `| \`${name}\` | ${type} | ${shown} | ${help} |`;
  });
  return ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|", ...rows].join("\n");
}

function counter(
  name: string,
  help: string,
  labels: string,
  read: MetricDefinition["read"],
): MetricDefinition {
  return { name, help, type: "counter", labels, read };
}

function gauge(
  name: string,
  help: string,
  labels: string,
  read: MetricDefinition["read"],
): MetricDefinition {
  return { name, help, type: "gauge", labels, read };
}

function native(name: string, help: string, labels: string, from: NativeValues): MetricDefinition {
  return counter(name, help, labels, readNative(from));
}

function nativeGauge(
  name: string,
  help: string,
  labels: string,
  from: NativeValues,
): MetricDefinition {
  return gauge(name, help, labels, readNative(from));
}

function readNative(from: NativeValues): MetricDefinition["read"] {
  return ({ relay }) =>
    from.map(([counterName, labels]) => ({
      value: relay.values.get(counterName) ?? 0,
      ...(labels === undefined ? {} : { labels }),
    }));
}

function histogram(
  name: string,
  help: string,
  pick: (snapshot: MetricsSnapshot) => RelayHistogram,
): MetricDefinition {
  return {
    name,
    help,
    type: "histogram",
    labels: "",
    read: (snapshot) => {
      const { boundsMicros, buckets, sumNanos } = pick(snapshot);
      let count = 0;
      const cumulative = buckets.map((bucket, index): Sample => {
        count += bucket;
        const bound = boundsMicros[index];
        const le = bound === undefined ? "+Inf" : String(bound / 1e6);
        return { metricName: `${name}_bucket`, labels: { le }, value: count };
      });
      return [
        ...cumulative,
        { metricName: `${name}_sum`, value: sumNanos / 1e9 },
        { metricName: `${name}_count`, value: count },
      ];
    },
  };
}
