// Ping-pong between two Node processes, over channels, brokers or TCP: every peer of fig4, driven in
// the same way, by events and promises.
//
// A message is made before it is due: the clock runs from the call that sends it until the answer's
// last byte was looked at. The answer, as large, was made before its question came.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { parseArgs } from "node:util";
import { connect as connectNats } from "@nats-io/transport-node";
import { connect as connectRabbit } from "amqplib";
import { createClient } from "redis";
import { type Loan, type Room, ShimmyClient } from "../../sdk/typescript/index.ts";

const LOOPBACK = "127.0.0.1";
const SERVE = "--serve";
const BLOCK_BYTES = 4096;
const LARGEST_BLOCK_BYTES = 1 << 20;
const MESSAGES = 3;
/** A subscriber may hold a sixteenth of a lock-free channel in place. */
const MESSAGES_TO_LEND = 16;
/** Ends a message; is nowhere else in it. */
const LAST = 0xff;

const { values: given } = parseArgs({
  args: process.argv.slice(2).filter((argument) => argument !== SERVE),
  options: {
    transport: { type: "string", default: "tcp" },
    moving: { type: "string", default: "copy" },
    size: { type: "string", default: "1000" },
    count: { type: "string", default: "100" },
    warmup: { type: "string", default: "10" },
    port: { type: "string", default: "0" },
    sockets: { type: "string", default: "," },
    topic: { type: "string", default: "ping" },
  },
});
const size = Number(given.size);
const port = Number(given.port);
const warmup = Number(given.warmup);
const rounds = warmup + Number(given.count);
const side = process.argv.includes(SERVE) ? 1 : 0;
const names = [`${given.topic}-there`, `${given.topic}-back`] as const;
const [outName, inName] = side === 0 ? names : ([names[1], names[0]] as const);

/** One end of the ping-pong. */
interface End {
  /** Room for the next message to be made in. */
  begin(): Promise<Uint8Array> | Uint8Array;
  /** Sends what was made there. */
  send(): unknown;
  receive(): Promise<Uint8Array>;
  /** The message is of no more use. */
  done(): void;
  counts?(): { readonly published: number; readonly taken: number };
  close(): unknown;
}

function make(to: Uint8Array, round: number): void {
  to.fill(round & 0x7f);
  to[to.length - 1] = LAST;
}

/** Goes through every byte to the last one. */
function look(at: Uint8Array, round: number): void {
  const isWhole = at.length === size && at.indexOf(LAST) === size - 1;
  if (!isWhole || at[0] !== (round & 0x7f)) throw new Error("the message is another one");
}

/** What comes by events, for who waits. */
class Inbox {
  readonly #messages: Uint8Array[] = [];
  #wake: ((message: Uint8Array) => void) | undefined;

  put(message: Uint8Array): void {
    const wake = this.#wake;
    this.#wake = undefined;
    if (wake === undefined) this.#messages.push(message);
    else wake(message);
  }

  get(): Promise<Uint8Array> {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve(message);
    return new Promise((resolve) => (this.#wake = resolve));
  }
}

/**
 * An end that sends from buffers of its own and receives by events. Of two buffers, because libraries
 * may still write one when the next message is made.
 */
function eventEnd(inbox: Inbox, send: (message: Buffer) => unknown, close: End["close"]): End {
  let out = Buffer.from(new ArrayBuffer(size));
  let next = Buffer.from(new ArrayBuffer(size));
  return {
    begin: () => {
      [out, next] = [next, out];
      return out;
    },
    send: () => send(out),
    receive: () => inbox.get(),
    done: () => undefined,
    close,
  };
}

async function openRabbit(): Promise<End> {
  const connection = await connectRabbit(`amqp://guest:guest@${LOOPBACK}:${port}`, {
    noDelay: true,
  });
  const channel = await connection.createChannel();
  // Neither kept on disk nor confirmed: as with a channel.
  for (const name of names) await channel.assertQueue(name, { durable: false, autoDelete: true });
  const inbox = new Inbox();
  const take = (message: { content: Buffer } | null): void => {
    if (message !== null) inbox.put(message.content);
  };
  await channel.consume(inName, take, { noAck: true });
  const send = (message: Buffer): void => {
    channel.sendToQueue(outName, message);
  };
  return eventEnd(inbox, send, () => connection.close());
}

async function openRedis(): Promise<End> {
  const client = await createClient({ socket: { host: LOOPBACK, port } }).connect();
  const subscriber = await client.duplicate().connect();
  const inbox = new Inbox();
  await subscriber.subscribe(
    inName,
    (message) => {
      inbox.put(message);
    },
    true,
  );
  // Not waited for: its answer comes back beside the message's.
  const send = (message: Buffer): void => {
    void client.publish(outName, message);
  };
  return eventEnd(inbox, send, () => {
    subscriber.destroy();
    client.destroy();
  });
}

async function openNats(): Promise<End> {
  const connection = await connectNats({ servers: `${LOOPBACK}:${port}` });
  const inbox = new Inbox();
  connection.subscribe(inName, {
    callback: (err, message) => {
      if (err !== null) throw err;
      inbox.put(message.data);
    },
  });
  await connection.flush();
  const send = (message: Buffer): void => {
    connection.publish(outName, message);
  };
  return eventEnd(inbox, send, () => connection.close());
}

async function openTcp(): Promise<End> {
  const socket = side === 0 ? connectTcp({ port: await toldPort(), host: LOOPBACK }) : await meet();
  socket.setNoDelay(true);
  if (side === 0) await once(socket, "connect");
  const message = Buffer.from(new ArrayBuffer(size));
  const inbox = new Inbox();
  let filled = 0;
  socket.on("data", (piece: Buffer) => {
    piece.copy(message, filled);
    filled += piece.length;
    if (filled < size) return;
    filled = 0;
    inbox.put(message);
  });
  const send = (out: Buffer): void => {
    socket.write(out);
  };
  return eventEnd(inbox, send, () => {
    socket.destroy();
  });
}

async function toldPort(): Promise<number> {
  if (child === undefined) throw new Error("nobody listens");
  const [told] = (await once(child, "message")) as [number];
  return told;
}

async function meet(): Promise<Socket> {
  const server = createServer();
  server.listen(0, LOOPBACK);
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("not a TCP port");
  process.send?.(bound.port);
  const [socket] = (await once(server, "connection")) as [Socket];
  server.close();
  return socket;
}

/** Channels that hold a few messages. */
function channelSizes(): { readonly blocks: number; readonly blockBytes: number } {
  if (size <= BLOCK_BYTES) return { blocks: 64, blockBytes: BLOCK_BYTES };
  const blockBytes = Math.min(LARGEST_BLOCK_BYTES, Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES);
  const lends = given.transport === "lockfree" && given.moving === "loan";
  const messages = lends ? MESSAGES_TO_LEND : MESSAGES;
  return { blocks: Math.ceil(size / blockBytes) * messages, blockBytes };
}

async function openChannel(): Promise<End> {
  const client = await ShimmyClient.connect({ socket: given.sockets.split(",")[side] ?? "" });
  const sizes = channelSizes();
  const isLock = given.transport === "lock";
  const writer = isLock
    ? await client.producer(outName, { parameters: { kind: "lock", ...sizes } })
    : await client.publisher(outName, { parameters: { kind: "lockfree", ...sizes } });
  const reader = isLock
    ? await client.consumer(inName, { parameters: { kind: "lock", ...sizes } })
    : await client.subscriber(inName, { parameters: { kind: "lockfree", ...sizes } });
  while (writer.info().peers === 0 || reader.info().peers === 0) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const common = {
    counts: () => ({
      published: writer.counters().messages,
      taken: reader.counters().messages,
    }),
    close: () => client.close(),
  };
  if (given.moving === "copy") {
    const out = Buffer.from(new ArrayBuffer(size));
    const into = Buffer.from(new ArrayBuffer(size));
    return {
      ...common,
      begin: () => out,
      send: () => writer.publish(out),
      receive: async () => {
        if ((await reader.takeInto(into)) === undefined) throw new Error("ended");
        return into;
      },
      done: () => undefined,
    };
  }
  let room: Room | undefined;
  let loan: Loan | undefined;
  return {
    ...common,
    begin: async () => (room = await writer.reserve(size)).bytes,
    send: () => room?.commit(),
    receive: async () => {
      loan = await reader.loan();
      if (loan === undefined) throw new Error("ended");
      return loan.data;
    },
    done: () => loan?.release(),
  };
}

function open(): Promise<End> {
  switch (given.transport) {
    case "rabbitmq":
      return openRabbit();
    case "redis":
      return openRedis();
    case "nats":
      return openNats();
    case "tcp":
      return openTcp();
    default:
      return openChannel();
  }
}

async function serve(end: End): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    make(await end.begin(), round);
    look(await end.receive(), round);
    end.done();
    await end.send();
  }
}

async function ping(end: End): Promise<void> {
  const micros: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    make(await end.begin(), round);
    const before = performance.now();
    await end.send();
    look(await end.receive(), round);
    if (round > warmup) micros.push((performance.now() - before) * 1000);
    end.done();
  }
  const sorted = micros.toSorted((one, other) => one - other);
  const at = (quantile: number): number =>
    sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? 0;
  const figures = { p50Us: at(0.5), p99Us: at(0.99), maxUs: at(1), operations: rounds };
  process.stdout.write(`${JSON.stringify({ ...figures, ...end.counts?.() })}\n`);
}

let child: ChildProcess | undefined;
if (side === 1) {
  process.on("disconnect", () => process.exit(0));
  const end = await open();
  process.send?.("ready");
  await serve(end);
  // Stays until the other side has read all of it, and says so by its end.
} else {
  child = fork(import.meta.filename, [SERVE, ...process.argv.slice(2)]);
  child.once("exit", (code) => {
    if (code !== 0) process.exit(1);
  });
  const isReady = new Promise<void>((resolve) => {
    child?.on("message", (message) => {
      if (message === "ready") resolve();
    });
  });
  const end = await open();
  await isReady;
  await ping(end);
  await end.close();
  child.disconnect();
  await once(child, "exit");
}
