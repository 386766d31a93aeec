import { Random } from "../random.ts";
import { plannedToSend, type Side, type Step, type TrafficCase } from "./script.ts";

const MOST_BYTES = 256 * 1024;
/** Of the few connections that move much. */
const MUCH_BYTES = 4 * 1024 * 1024;
/** Smaller ones than a segment over loopback make TCP itself wait for its timers. */
const SMALL_BUFFER_BYTES = 40_000;
/** Pauses of one lane add up to no more, so that thousands of connections take a minute. */
const MAX_PAUSES_MS = 120;

type Generator = (random: Random) => Omit<TrafficCase, "name">;

/**
 * Makes one connection. No script can wait for itself: a side that takes all takes it in a lane of
 * its own, and a side that takes a part takes no more than the other sends.
 */
export function generateCase(seed: string, number: number): TrafficCase {
  const random = new Random(`${seed}/${number}`);
  const [shape, make] = random.pick(SHAPES);
  return { name: `${shape} ${seed}/${number}`, ...make(random) };
}

/** Makes one connection that neither side gives up. */
export function generateCleanCase(seed: string, number: number): TrafficCase {
  const random = new Random(`${seed}/clean ${number}`);
  const [shape, make] = random.pick(SHAPES.slice(0, CLEAN_SHAPES));
  return { name: `${shape} ${seed}/clean ${number}`, ...make(random) };
}

/** How many of the shapes are such that everything is determined. */
const CLEAN_SHAPES = 5;

const SHAPES: readonly (readonly [string, Generator])[] = [
  ["duplex", duplex],
  ["duplex", duplex],
  ["dialog", dialog],
  ["dialog", dialog],
  ["one way", oneWay],
  ["reset", (random) => giveUp(random, "reset")],
  ["early close", (random) => giveUp(random, "close")],
  ["both give up", bothGiveUp],
];

/** Both sides send and receive at the same time, to the end. */
function duplex(random: Random): Omit<TrafficCase, "name"> {
  // A side that does not shut down closes once it has seen the other's end; one side must begin.
  const [clientShuts, serverShuts] = random.pick([
    [true, true],
    [true, false],
    [false, true],
  ] as const);
  const full = (shuts: boolean): Side =>
    side(random, [
      [...pauses(random), send(random), ...(shuts ? [shutdownWrite] : [])],
      [...pauses(random), receiveToEnd(random)],
    ]);
  return { client: full(clientShuts), server: full(serverShuts) };
}

/** Question and answer in turn, in one lane. */
function dialog(random: Random): Omit<TrafficCase, "name"> {
  const lanes: { client: Step[]; server: Step[] } = { client: [], server: [] };
  const turns = random.integer(1, 12);
  for (let turn = 0; turn < turns; turn++) {
    const [speaker, listener] = turn % 2 === 0 ? lanesOf("client") : lanesOf("server");
    const bytes = random.magnitude(1, 40_000);
    speaker.push({ op: "send", bytes, ...pace(random, bytes) });
    listener.push({ op: "receive", bytes, ...pace(random, bytes) });
    if (random.chance(0.1)) speaker.push(...pauses(random));
  }
  // Who closes first, without waiting for the other's end.
  const last: Step = { op: "receiveToEnd" };
  (random.chance(0.5) ? lanes.client : lanes.server).push(last);
  return { client: side(random, [lanes.client]), server: side(random, [lanes.server]) };

  function lanesOf(name: "client" | "server"): [Step[], Step[]] {
    return [lanes[name], lanes[name === "client" ? "server" : "client"]];
  }
}

/** An upload or a download; the receiver may be slow. */
function oneWay(random: Random): Omit<TrafficCase, "name"> {
  const sender = side(random, [[send(random), ...(random.chance(0.5) ? [shutdownWrite] : [])]]);
  const receiver = side(random, [[...pauses(random), receiveToEnd(random)]]);
  return random.chance(0.5)
    ? { client: sender, server: receiver }
    : { client: receiver, server: sender };
}

/** One side ends in the middle, the other goes on as long as it can. */
function giveUp(random: Random, end: "reset" | "close"): Omit<TrafficCase, "name"> {
  const steady = side(random, [
    [...pauses(random), send(random), shutdownWrite],
    [...pauses(random), receiveToEnd(random)],
  ]);
  const quitter = quitting(random, plannedToSend(steady), end);
  return random.chance(0.5)
    ? { client: quitter, server: steady }
    : { client: steady, server: quitter };
}

function bothGiveUp(random: Random): Omit<TrafficCase, "name"> {
  const first = quitting(random, 0, random.pick(["reset", "close"]));
  const second = quitting(random, plannedToSend(first), random.pick(["reset", "close"]));
  return random.chance(0.5) ? { client: first, server: second } : { client: second, server: first };
}

function quitting(random: Random, offered: number, end: "reset" | "close"): Side {
  const bytes = Math.min(offered, random.integer(0, 1) * random.magnitude(1, MOST_BYTES));
  const sending: Step[] = random.chance(0.7) ? [send(random)] : [];
  const shutting: Step[] = random.chance(0.2) ? [shutdownWrite] : [];
  return {
    ...side(random, [
      [...pauses(random), ...sending, ...shutting, ...pauses(random)],
      [{ op: "receive", bytes, ...pace(random, bytes) }],
    ]),
    end,
  };
}

const shutdownWrite: Step = { op: "shutdownWrite" };

function side(random: Random, lanes: readonly (readonly Step[])[]): Side {
  return {
    lanes,
    end: random.chance(0.15) ? "shutdown" : "close",
    waiting: random.pick(["blocking", "poll", "edge"]),
    bufferBytes: random.chance(0.2)
      ? random.magnitude(SMALL_BUFFER_BYTES, 16 * SMALL_BUFFER_BYTES)
      : 0,
  };
}

function send(random: Random): Step {
  const bytes = random.chance(0.05)
    ? random.magnitude(MOST_BYTES, MUCH_BYTES)
    : random.integer(0, 1) + random.magnitude(1, MOST_BYTES) - 1;
  return { op: "send", bytes, ...pace(random, bytes) };
}

function receiveToEnd(random: Random): Step {
  return { op: "receiveToEnd", ...pace(random, MUCH_BYTES) };
}

/** Size of the calls, and the pauses between them, which are few. */
function pace(random: Random, bytes: number): { chunk: number; pauseMs?: number } {
  const chunk = Math.max(1, Math.ceil(bytes / 20_000), random.magnitude(1, 131_072));
  const calls = Math.ceil(bytes / chunk);
  if (calls > MAX_PAUSES_MS || !random.chance(0.2)) return { chunk };
  return { chunk, pauseMs: random.integer(0, Math.floor(MAX_PAUSES_MS / Math.max(1, calls))) };
}

function pauses(random: Random): Step[] {
  return random.chance(0.2) ? [{ op: "pause", ms: random.integer(1, 40) }] : [];
}
