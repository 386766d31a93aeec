import type { Side, Step, TrafficCase } from "./script.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** A connection with a name, and what must be seen where TCP leaves no choice. */
export interface CornerCase extends TrafficCase {
  readonly expect?: {
    readonly client?: { readonly receiveEnd: string };
    readonly server?: { readonly receiveEnd: string };
  };
}

/** Sizes around those of pages, rings and buffers. */
const SIZES = [
  1,
  4095,
  4096,
  4097,
  16 * KIB - 1,
  16 * KIB,
  16 * KIB + 1,
  64 * KIB,
  MIB - 1,
  MIB,
  MIB + 1,
  16 * MIB + 7,
];

/** Connections that are special in some way. */
export const CORNER_CASES: readonly CornerCase[] = [
  { name: "nothing is sent", client: ends(), server: ends() },
  {
    name: "the client shuts down at once",
    client: ends([shut(), toEnd()]),
    server: ends([toEnd()]),
  },
  {
    name: "the server shuts down at once",
    client: ends([toEnd()]),
    server: ends([shut(), toEnd()]),
  },
  ...SIZES.flatMap((bytes): CornerCase[] => [
    { name: `upload of ${bytes}`, client: ends([send(bytes)]), server: ends([toEnd()]) },
    { name: `download of ${bytes}`, client: ends([toEnd()]), server: ends([send(bytes)]) },
    { name: `echo of ${bytes}`, client: both(bytes), server: both(bytes) },
  ]),
  ...(["blocking", "poll", "edge"] as const).map((waiting): CornerCase => ({
    name: `64 MiB in both directions, ${waiting}`,
    client: { ...both(64 * MIB), waiting },
    server: { ...both(64 * MIB), waiting },
  })),
  {
    name: "an answer after the client has shut down",
    client: ends([send(5000), shut(), toEnd()]),
    server: ends([toEnd(), pause(30), send(7000)]),
  },
  {
    name: "the client goes on after the server has shut down",
    client: ends([toEnd(), pause(20), send(3 * MIB)]),
    server: ends([send(100), shut(), toEnd()]),
  },
  {
    name: "the server speaks first",
    client: ends([receive(20), send(4), receive(8)]),
    server: ends([send(20), receive(4), send(8), toEnd()]),
  },
  {
    name: "one byte at a time",
    client: ends([send(2000, 1), shut()], [toEnd(1)]),
    server: ends([send(2000, 1), shut()], [toEnd(1)]),
  },
  {
    name: "one byte back and forth",
    client: ends([...turns("send", "receive"), toEnd()]),
    server: ends([...turns("receive", "send")]),
  },
  {
    name: "bytes with pauses",
    client: ends([send(20, 1, 5)]),
    server: ends([toEnd()]),
  },
  {
    name: "silence, then bytes",
    client: ends([send(10), pause(400), send(10)]),
    server: ends([toEnd(), send(10)]),
  },
  {
    name: "a reader that begins late",
    client: ends([send(8 * MIB)]),
    server: ends([pause(250), toEnd()]),
  },
  {
    name: "a reader that is slow all the time",
    client: ends([send(3 * MIB)]),
    server: ends([toEnd(64 * KIB, 4)]),
  },
  {
    name: "a client that is slow to read",
    client: ends([toEnd(64 * KIB, 4)]),
    server: ends([send(3 * MIB)]),
  },
  {
    name: "small socket buffers",
    client: { ...both(20_000), bufferBytes: 2048 },
    server: { ...both(20_000), bufferBytes: 2048 },
  },
  // What TCP does with each kind of giving up. Pauses let what was sent arrive, so that the reset
  // has nothing to overtake.
  {
    name: "the client resets without a byte",
    client: reset([pause(20)]),
    server: ends([toEnd()]),
    expect: { server: { receiveEnd: "ECONNRESET" } },
  },
  {
    name: "the server resets without a byte",
    client: ends([toEnd()]),
    server: reset([pause(20)]),
    expect: { client: { receiveEnd: "ECONNRESET" } },
  },
  {
    name: "the client resets after bytes that have arrived",
    client: reset([send(1000), receive(1)]),
    server: ends([receive(1000), send(1), toEnd()]),
    expect: { server: { receiveEnd: "ECONNRESET" } },
  },
  {
    name: "the server resets after bytes that have arrived",
    client: ends([receive(1000), send(1), toEnd()]),
    server: reset([send(1000), receive(1)]),
    expect: { client: { receiveEnd: "ECONNRESET" } },
  },
  {
    name: "the server closes with bytes unread",
    client: ends([send(1000), toEnd()]),
    server: ends([receive(1), pause(20)]),
    expect: { client: { receiveEnd: "ECONNRESET" } },
  },
  {
    name: "the client closes with bytes unread",
    client: ends([receive(1), pause(20)]),
    server: ends([send(1000), toEnd()]),
    expect: { server: { receiveEnd: "ECONNRESET" } },
  },
  {
    name: "the server resets while the client cannot send more",
    client: ends([send(64 * MIB), toEnd()]),
    server: reset([receive(100), pause(100)]),
  },
  {
    name: "the client resets while the server cannot send more",
    client: reset([receive(100), pause(100)]),
    server: ends([send(64 * MIB), toEnd()]),
  },
  {
    name: "the server closes while the client sends",
    client: ends([send(64 * MIB, 8 * KIB)], [toEnd()]),
    server: ends([receive(1 * MIB)]),
  },
  {
    name: "a reset after a half-close",
    client: reset([send(10), shut(), receive(10)]),
    server: ends([receive(10), send(10), pause(30), send(1000), toEnd()]),
  },
  {
    name: "both reset",
    client: reset([send(100_000)]),
    server: reset([send(100_000)]),
  },
];

function ends(...lanes: Step[][]): Side {
  return { lanes, end: "close", waiting: "blocking", bufferBytes: 0 };
}

function reset(...lanes: Step[][]): Side {
  return { ...ends(...lanes), end: "reset" };
}

function both(bytes: number): Side {
  return ends([send(bytes), shut()], [toEnd()]);
}

function send(bytes: number, chunk?: number, pauseMs?: number): Step {
  return { op: "send", bytes, ...pace(chunk, pauseMs) };
}

function receive(bytes: number, chunk?: number): Step {
  return { op: "receive", bytes, ...pace(chunk) };
}

function toEnd(chunk?: number, pauseMs?: number): Step {
  return { op: "receiveToEnd", ...pace(chunk, pauseMs) };
}

function shut(): Step {
  return { op: "shutdownWrite" };
}

function pause(ms: number): Step {
  return { op: "pause", ms };
}

function turns(first: "send" | "receive", second: "send" | "receive"): Step[] {
  return Array.from({ length: 500 }).flatMap((): Step[] => [
    { op: first, bytes: 1 },
    { op: second, bytes: 1 },
  ]);
}

function pace(chunk?: number, pauseMs?: number): { chunk?: number; pauseMs?: number } {
  return {
    ...(chunk === undefined ? {} : { chunk }),
    ...(pauseMs === undefined ? {} : { pauseMs }),
  };
}
