import type { Transport } from "../agent/api.ts";
import { FALLBACK_REASONS, type FallbackReason } from "../common/reasons.ts";
import { getText } from "./http.ts";
import { parsePrometheus, sumSamples, type Sample } from "./prometheus.ts";
import { formatBytes, formatCount, renderTable } from "./table.ts";

/** What one sidecar carried by one transport since it started. */
export interface TransportTraffic {
  /** Connections its application opened. */
  readonly outbound: number;
  /** Connections delivered to its application. */
  readonly inbound: number;
  readonly open: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** What one sidecar carried since it started. */
export interface PodTraffic {
  readonly pod: string;
  readonly shm: TransportTraffic;
  readonly tcp: TransportTraffic;
  /** Connections its application opened that could not be carried at all. */
  readonly failed: number;
  readonly fallbacks: Readonly<Partial<Record<FallbackReason, number>>>;
}

const TRANSPORTS = ["shm", "tcp"] as const satisfies readonly Transport[];
const TRANSPORT_NAMES = { shm: "shared memory", tcp: "TCP" } as const;

/**
 * Asks a sidecar for its counters.
 *
 * @returns `undefined` when it does not answer.
 */
export async function readTraffic(pod: string, adminUrl: string): Promise<PodTraffic | undefined> {
  const text = await getText({ url: `${adminUrl}/metrics` });
  return text === undefined ? undefined : toTraffic(pod, parsePrometheus(text));
}

/** Picks what was carried out of a sidecar's metrics. */
export function toTraffic(pod: string, samples: readonly Sample[]): PodTraffic {
  const counts = FALLBACK_REASONS.map(
    (reason) => [reason, sumSamples(samples, "shimmy_fallbacks_total", { reason })] as const,
  );
  return {
    pod,
    shm: byTransport(samples, "shm"),
    tcp: byTransport(samples, "tcp"),
    failed: sumSamples(samples, "shimmy_refused_connections_total", { direction: "outbound" }),
    fallbacks: Object.fromEntries(counts.filter(([, count]) => count > 0)),
  };
}

function byTransport(samples: readonly Sample[], transport: Transport): TransportTraffic {
  const connections = (direction: string): number =>
    sumSamples(samples, "shimmy_connections_total", { direction, transport });
  const bytes = (direction: string): number =>
    sumSamples(samples, "shimmy_bytes_total", { direction, transport });
  return {
    outbound: connections("outbound"),
    inbound: connections("inbound"),
    open: sumSamples(samples, "shimmy_open_connections", { transport }),
    bytesSent: bytes("sent"),
    bytesReceived: bytes("received"),
  };
}

/** A table of what travelled, one row per pod and transport; empty when nothing did. */
export function trafficTable(traffic: readonly PodTraffic[]): string[] {
  const rows = traffic.flatMap((each) =>
    TRANSPORTS.filter((transport) => isUsed(each[transport])).map((transport) => {
      const { outbound, inbound, open, bytesSent, bytesReceived } = each[transport];
      return [
        each.pod,
        TRANSPORT_NAMES[transport],
        ...[outbound, inbound, open].map(formatCount),
        ...[bytesSent, bytesReceived].map(formatBytes),
        transport === "tcp" ? fallbackText(each.fallbacks) : "",
      ];
    }),
  );
  if (rows.length === 0) return [];
  return renderTable(
    [
      { title: "POD" },
      { title: "TRANSPORT" },
      { title: "CALLS OUT", align: "right" },
      { title: "CALLS IN", align: "right" },
      { title: "OPEN", align: "right" },
      { title: "SENT", align: "right" },
      { title: "RECEIVED", align: "right" },
      { title: "WHY" },
    ],
    rows,
  );
}

/** What travelled by which transport, in a table and a sentence. */
export function summaryLines(traffic: readonly PodTraffic[]): string[] {
  const shm = sum(traffic, ({ shm: { outbound } }) => outbound);
  const tcp = sum(traffic, ({ tcp: { outbound } }) => outbound);
  const failed = sum(traffic, (each) => each.failed);
  return [
    "",
    ...trafficTable(traffic),
    verdict(shm, tcp, allFallbacks(traffic)),
    ...(failed === 0 ? [] : [`${plural(failed, "connection")} reached nobody.`]),
  ];
}

/** Counts of reasons in words: `peer_not_injected 3, quota 1`. */
export function fallbackText(fallbacks: PodTraffic["fallbacks"]): string {
  return Object.entries(fallbacks)
    .map(([reason, count]) => `${reason} ${formatCount(count)}`)
    .join(", ");
}

function verdict(shm: number, tcp: number, fallbacks: PodTraffic["fallbacks"]): string {
  if (shm + tcp === 0) return "No connection went through a sidecar.";
  if (tcp === 0) return `${plural(shm, "connection")}, by shared memory every one.`;
  return (
    `${plural(shm, "connection")} by shared memory, ${formatCount(tcp)} by TCP ` +
    `(${fallbackText(fallbacks)}; docs/reference/reasons.md says what to do).`
  );
}

function allFallbacks(traffic: readonly PodTraffic[]): PodTraffic["fallbacks"] {
  const counts = FALLBACK_REASONS.map(
    (reason) => [reason, sum(traffic, ({ fallbacks }) => fallbacks[reason] ?? 0)] as const,
  );
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

function isUsed({ outbound, inbound, bytesSent, bytesReceived }: TransportTraffic): boolean {
  return outbound + inbound + bytesSent + bytesReceived > 0;
}

function sum(traffic: readonly PodTraffic[], count: (each: PodTraffic) => number): number {
  return traffic.reduce((total, each) => total + count(each), 0);
}

function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}
