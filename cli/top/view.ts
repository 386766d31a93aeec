import { formatBytes, formatCount, renderTable, type Column } from "../table.ts";
import { fallbackText, type PodTraffic } from "../traffic.ts";
import type { TopSnapshot } from "./snapshot.ts";

const POD_COLUMNS: readonly Column[] = [
  { title: "POD" },
  { title: "SIDECAR" },
  { title: "OPEN SHM", align: "right" },
  { title: "TCP", align: "right" },
  { title: "EVER SHM", align: "right" },
  { title: "TCP", align: "right" },
  { title: "PER SECOND", align: "right" },
  { title: "FALLBACKS" },
];

const STREAM_COLUMNS: readonly Column[] = [
  { title: "POD" },
  { title: "" },
  { title: "PEER" },
  { title: "SERVICE" },
  { title: "TRANSPORT" },
  { title: "OPEN", align: "right" },
  { title: "SEEN", align: "right" },
  { title: "SENT", align: "right" },
  { title: "RECEIVED", align: "right" },
];

const SESSION_COLUMNS: readonly Column[] = [
  { title: "SESSION" },
  { title: "BETWEEN" },
  { title: "AND" },
  { title: "STATE" },
  { title: "GRANTS" },
];

/**
 * Lays a snapshot out for people.
 *
 * @param before - An earlier one, for rates.
 * @returns Lines.
 */
export function renderTop(now: TopSnapshot, before?: TopSnapshot): string[] {
  return [
    ...headLines(now),
    "",
    ...renderTable(POD_COLUMNS, podRows(now, before)),
    ...section(STREAM_COLUMNS, streamRows(now)),
    ...section(SESSION_COLUMNS, sessionRows(now)),
  ];
}

function headLines({ agents, pods, sessions }: TopSnapshot): string[] {
  const isOnly = agents.length === 1;
  const total = `${pods.length} pods; sessions between them: ${sessions.length}`;
  return [
    ...agents.flatMap(({ version, node, status, uptimeSeconds, catalog, failedPods }) => [
      `shimmy ${version}, node ${node}, agent ${status} for ${formatSeconds(uptimeSeconds)}` +
        (isOnly ? `, ${total}` : ""),
      ...(catalog.error === undefined ? [] : [`catalog refused: ${catalog.error}`]),
      ...failedPods.map(({ pod, error }) => `no sockets for ${pod}: ${error}`),
    ]),
    ...(isOnly ? [] : [total]),
  ];
}

/** One row per pod: what its sidecar carried in all, exactly. */
function podRows(now: TopSnapshot, before: TopSnapshot | undefined): string[][] {
  return now.pods.map(({ namespace, name, uid, injected, connected }) => {
    const pod = `${namespace}/${name}`;
    const traffic = trafficOf(now, pod);
    const reported = now.fallbacks
      .filter((each) => each.pod === uid)
      .map(({ reason, count }) => [reason, count] as const);
    return [
      pod,
      sidecarState(injected, connected),
      ...connectionCells(traffic),
      byteRate({ now, before, pod }),
      fallbackText(traffic?.fallbacks ?? Object.fromEntries(reported)),
    ];
  });
}

function sidecarState(isInjected: boolean, isConnected: boolean): string {
  if (!isInjected) return "none";
  return isConnected ? "connected" : "away";
}

function connectionCells(traffic: PodTraffic | undefined): string[] {
  if (traffic === undefined) return ["", "", "", ""];
  const { shm, tcp } = traffic;
  const ever = [shm, tcp].map(({ outbound, inbound }) => outbound + inbound);
  return [shm.open, tcp.open, ...ever].map(formatCount);
}

/** Bytes of a pod in both directions by both transports, per second since `before`. */
function byteRate(question: {
  now: TopSnapshot;
  before: TopSnapshot | undefined;
  pod: string;
}): string {
  const { now, before, pod } = question;
  const traffic = trafficOf(now, pod);
  const earlier = before === undefined ? undefined : trafficOf(before, pod);
  if (traffic === undefined || before === undefined || earlier === undefined) return "";
  const seconds = (now.takenAtMs - before.takenAtMs) / 1000;
  // A sidecar that was started again counts from 0.
  const bytes = Math.max(0, totalBytes(traffic) - totalBytes(earlier));
  return seconds > 0 ? formatBytes(bytes / seconds) : "";
}

function totalBytes({ shm, tcp }: PodTraffic): number {
  return shm.bytesSent + shm.bytesReceived + tcp.bytesSent + tcp.bytesReceived;
}

function trafficOf({ traffic }: TopSnapshot, pod: string): PodTraffic | undefined {
  return traffic.find((each) => each.pod === pod);
}

/** What the sidecars reported of the streams they saw open, busiest first. */
function streamRows({ streams, names }: TopSnapshot): string[][] {
  return [...streams]
    .sort((a, b) => b.open - a.open || b.bytesSent - a.bytesSent)
    .map(({ pod, peer, service, transport, direction, ...counts }) => [
      names[pod] ?? pod,
      direction === "out" ? "to" : "from",
      names[peer] ?? peer,
      service,
      transport,
      ...[counts.open, counts.opened].map(formatCount),
      ...[counts.bytesSent, counts.bytesReceived].map(formatBytes),
    ]);
}

function sessionRows({ sessions, names }: TopSnapshot): string[][] {
  return sessions.map(({ id, initiator, responder, state, ...grants }) => [
    id.slice(0, 12),
    names[initiator] ?? initiator,
    names[responder] ?? responder,
    state,
    [...grants.initiatorGrants, ...grants.responderGrants]
      .map(({ service, port }) => `${service}:${port}`)
      .join(" "),
  ]);
}

function section(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : ["", ...renderTable(columns, rows)];
}

function formatSeconds(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}
