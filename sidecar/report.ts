import type { ReportMessage, StreamReport } from "../agent/api.ts";
import { FALLBACK_REASONS, type FallbackReason } from "../common/reasons.ts";
import type { RelayStreamInfo } from "../shm-core/lib/relay.ts";
import type { SidecarRelay } from "./native.ts";
import type { SessionKeeper } from "./session-keeper.ts";

/** What a {@link Reporter} reads. */
export interface ReporterDeps {
  readonly relay: Pick<SidecarRelay, "counters" | "streams">;
  readonly sessions: Pick<SessionKeeper, "sessions">;
}

/** Rows of a report: the contract allows 64, the rest is summed up in up to four of them. */
const MAX_ROWS = 60;
/** Rows remembered; one without an open stream is forgotten beyond that. */
const MAX_KNOWN_ROWS = 1024;
/** Streams looked at for one report, oldest first; beyond them only the sidecar's counters are whole. */
const MAX_STREAMS = 4096;
/** Native counters that stay as they are exactly while nothing of a report's rows changes. */
const ACTIVITY = [
  "active_shm",
  "active_tcp",
  "outbound_shm",
  "outbound_tcp",
  "inbound_shm",
  "bytes_to_shm",
  "bytes_from_shm",
  "bytes_to_tcp",
  "bytes_from_tcp",
] as const;
/** Peer of the row that sums up what has no row of its own. */
const OTHERS = "others";

type Row = { -readonly [K in keyof StreamReport]: StreamReport[K] };

interface Seen {
  readonly row: Row;
  sent: number;
  received: number;
}

/**
 * Makes the reports to the agent.
 *
 * Rows are made from the streams open at the moment of each report: one that came and went between
 * two reports is in the sidecar's own counters, not here.
 */
export class Reporter {
  readonly #deps: ReporterDeps;
  readonly #rows = new Map<string, Row>();
  #seen = new Map<number, Seen>();
  #activity = "";

  constructor(deps: ReporterDeps) {
    this.#deps = deps;
  }

  /** Looks at the streams, and says what there was since the sidecar started. */
  report(): ReportMessage {
    const { values, fallbacks } = this.#deps.relay.counters();
    // Listing streams asks the relay's threads: a sidecar that carries nothing leaves them asleep.
    const activity = ACTIVITY.map((name) => values.get(name) ?? 0).join();
    if (activity !== this.#activity) this.#sample();
    this.#activity = activity;
    return {
      type: "report",
      streams: this.#bounded(),
      fallbacks: withoutZeros(fallbacks),
      sessions: this.#deps.sessions.sessions().map(({ id }) => id),
    };
  }

  #sample(): void {
    for (const row of this.#rows.values()) row.open = 0;
    const seen = new Map<number, Seen>();
    for (const stream of this.#deps.relay.streams(MAX_STREAMS)) {
      seen.set(stream.id, this.#add(stream));
    }
    this.#seen = seen;
    this.#forgetRows();
  }

  #add(stream: RelayStreamInfo): Seen {
    const before = this.#seen.get(stream.id);
    const row = before?.row ?? this.#rowOf(stream);
    if (before === undefined) row.opened += 1;
    row.open += 1;
    row.bytesSent += Math.max(0, stream.bytesToPeer - (before?.sent ?? 0));
    row.bytesReceived += Math.max(0, stream.bytesFromPeer - (before?.received ?? 0));
    return { row, sent: stream.bytesToPeer, received: stream.bytesFromPeer };
  }

  #rowOf({ pod: peer, service, transport, direction }: RelayStreamInfo): Row {
    const key = `${peer} ${service} ${transport} ${direction}`;
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = emptyRow({
        peer,
        service,
        transport,
        direction: direction === "inbound" ? "in" : "out",
      });
      this.#rows.set(key, row);
    }
    return row;
  }

  #forgetRows(): void {
    for (const [key, row] of this.#rows) {
      if (this.#rows.size <= MAX_KNOWN_ROWS) return;
      if (row.open === 0) this.#rows.delete(key);
    }
  }

  #bounded(): StreamReport[] {
    const rows = [...this.#rows.values()].sort(
      (a, b) => b.open - a.open || b.bytesSent + b.bytesReceived - a.bytesSent - a.bytesReceived,
    );
    return [...rows.slice(0, MAX_ROWS), ...sumUp(rows.slice(MAX_ROWS))].map((row) => ({ ...row }));
  }
}

type RowKey = Pick<StreamReport, "peer" | "service" | "transport" | "direction">;

function emptyRow({ peer, service, transport, direction }: RowKey): Row {
  // The contract's bounds; what is cut is for people's eyes only.
  const names = { peer: peer.slice(0, 128), service: service.slice(0, 128) };
  const counts = { open: 0, opened: 0, bytesSent: 0, bytesReceived: 0 };
  return { ...names, transport, direction, ...counts };
}

/** One row for each transport and direction. */
function sumUp(rows: readonly Row[]): Row[] {
  const sums = new Map<string, Row>();
  for (const { transport, direction, ...row } of rows) {
    const key = `${transport} ${direction}`;
    const sum = sums.get(key) ?? emptyRow({ peer: OTHERS, service: "", transport, direction });
    sums.set(key, sum);
    sum.open += row.open;
    sum.opened += row.opened;
    sum.bytesSent += row.bytesSent;
    sum.bytesReceived += row.bytesReceived;
  }
  return [...sums.values()];
}

function withoutZeros(
  counts: Readonly<Record<FallbackReason, number>>,
): Partial<Record<FallbackReason, number>> {
  const some = FALLBACK_REASONS.filter((reason) => counts[reason] > 0);
  return Object.fromEntries(some.map((reason) => [reason, counts[reason]]));
}
