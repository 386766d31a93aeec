/**
 * What TCP allows the two sides of a connection to see.
 *
 * A *clean* connection is one on which neither side resets, and each side takes all that the
 * other sends. Everything about it is determined: the records of two transports must be equal,
 * and equal to what the script says.
 *
 * Any other connection is a race in TCP itself: a reset overtakes the bytes before it (they are
 * dropped from the sender's queue), and one of two lanes that are both in a call gets the error
 * while the other sees an end of file or EPIPE. There TCP promises only this:
 *
 *   J1  what arrives is a prefix of what was sent
 *   J2  an end of file without an error in the other lane means that everything arrived
 *   J3  a side that resets without having shut down before does not look, to one that reads to
 *       the end, as if it had ended in an orderly way
 *   J4  nothing hangs
 *   J5  a connection may be gone before it was accepted only if the client gave it up, or was
 *       going to
 */
import type { TrafficRecord } from "./peer.ts";
import { hasStep, plannedToReceive, plannedToSend, type Side, type TrafficCase } from "./script.ts";

/** The two records of one connection. */
export interface CaseRecords {
  readonly client: TrafficRecord;
  readonly server: TrafficRecord;
}

/** One side's view: its own script and record, and the other's. */
interface View {
  readonly name: string;
  readonly side: Side;
  readonly record: TrafficRecord;
  readonly other: Side;
  readonly otherRecord: TrafficRecord;
}

/** Whether everything about a connection is determined by its script. */
export function isClean({ client, server }: TrafficCase): boolean {
  return takesAll(client, server) && takesAll(server, client);
}

/**
 * Compares records with what TCP allows.
 *
 * @returns What is not allowed, in words; nothing when all is well.
 */
export function judge(traffic: TrafficCase, { client, server }: CaseRecords): string[] {
  if (client.outcome !== "ran") return [`client: connect gave ${client.outcome}`];
  if (server.outcome !== "ran") return judgeUnaccepted(traffic, server);
  const views: View[] = [
    view("client", [traffic.client, client], [traffic.server, server]),
    view("server", [traffic.server, server], [traffic.client, client]),
  ];
  const check = isClean(traffic) ? judgeClean : judgeRace;
  return views.flatMap((each) =>
    [...judgeBytes(each), ...check(each)].map((problem) => `${each.name}: ${problem}`),
  );
}

/**
 * The same for a connection during which something was killed, a sidecar included, so that it may
 * end at any time.
 */
export function judgeCutOff(traffic: TrafficCase, { client, server }: CaseRecords): string[] {
  const views: View[] = [
    view("client", [traffic.client, client], [traffic.server, server]),
    view("server", [traffic.server, server], [traffic.client, client]),
  ];
  return views
    .filter(({ record }) => record.outcome === "ran")
    .flatMap((each) =>
      [...judgeBytes(each), ...judgeRace(each)].map((problem) => `${each.name}: ${problem}`),
    );
}

function view(
  name: string,
  [side, record]: [Side, TrafficRecord],
  [other, otherRecord]: [Side, TrafficRecord],
): View {
  return { name, side, record, other, otherRecord };
}

function takesAll(side: Side, other: Side): boolean {
  return side.end !== "reset" && plannedToReceive(side) >= plannedToSend(other);
}

// J5. A proxy accepts in the place of the server, so it may learn of the end before the server
// knows of the beginning.
function judgeUnaccepted(
  { client, server: serverSide }: TrafficCase,
  server: TrafficRecord,
): string[] {
  const mayBeGone = client.end === "reset" || plannedToReceive(client) < plannedToSend(serverSide);
  return mayBeGone && server.outcome === "not accepted" ? [] : [`server: ${server.outcome}`];
}

function judgeBytes({ record, otherRecord }: View): string[] {
  const problems: string[] = [];
  if (record.wrongAt >= 0) problems.push(`wrong byte at ${record.wrongAt}`); // J1
  if (record.received > otherRecord.sent) {
    problems.push(`received ${record.received}, but only ${otherRecord.sent} were sent`);
  }
  if (record.receiveEnd === "stuck") problems.push("stuck in recv"); // J4
  if (record.sendEnd === "stuck") problems.push("stuck in send");
  return problems;
}

function judgeClean({ side, record, other }: View): string[] {
  const expected = {
    received: Math.min(plannedToReceive(side), plannedToSend(other)),
    receiveEnd: plannedToReceive(side) > plannedToSend(other) ? "EOF" : "open",
    sent: plannedToSend(side),
    sendEnd: "ok",
  };
  return Object.entries(expected)
    .filter(([key, value]) => record[key as keyof typeof expected] !== value)
    .map(([key, value]) => `${key} is ${record[key as keyof typeof expected]}, not ${value}`);
}

const RECEIVE_ENDS = ["open", "EOF", "ECONNRESET", "EPIPE", "stuck"];
const SEND_ENDS = ["ok", "ECONNRESET", "EPIPE", "stuck"];

function judgeRace(view: View): string[] {
  const { side, record, otherRecord } = view;
  const { receiveEnd, sendEnd } = record;
  const problems: string[] = [];
  if (!RECEIVE_ENDS.includes(receiveEnd)) problems.push(`recv gave ${receiveEnd}`);
  if (!SEND_ENDS.includes(sendEnd)) problems.push(`send gave ${sendEnd}`);
  if (sendEnd !== "ok") return problems;
  if (receiveEnd === "EOF" && record.received !== otherRecord.sent) {
    problems.push(`end of file after ${record.received} of ${otherRecord.sent} bytes`); // J2
  }
  if (receiveEnd === "EOF" && isPlainReset(view.other)) {
    problems.push("a reset looks like an orderly end"); // J3
  }
  if (receiveEnd === "open" && hasStep(side, "receiveToEnd")) {
    problems.push("the end was not reached");
  }
  return problems;
}

function isPlainReset(side: Side): boolean {
  return side.end === "reset" && !hasStep(side, "shutdownWrite");
}
