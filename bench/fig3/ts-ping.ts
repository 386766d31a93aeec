// Ping-pong between two Node processes: the TypeScript twin of bench/native/channel_ping.cc, with
// the same arguments and the same output.
import { type ChildProcess, fork } from "node:child_process";
import { createSocket, type Socket as Datagrams } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  type Consumer,
  type Producer,
  type Publisher,
  ShimmyClient,
  type Subscriber,
} from "../../sdk/typescript/index.ts";

interface Options {
  readonly transport: string;
  readonly moving: string;
  readonly size: number;
  readonly count: number;
  readonly warmup: number;
  readonly sockets: readonly string[];
  readonly topic: string;
}

const SERVE = "--serve";
const BLOCK_BYTES = 4096;
/** The other process has died, or a bug loses messages. */
const NEVER_SO_LONG = { timeoutMs: 20_000 } as const;

function readOptions(): Options {
  const { values } = parseArgs({
    args: process.argv.slice(2).filter((argument) => argument !== SERVE),
    options: {
      transport: { type: "string", default: "tcp" },
      moving: { type: "string", default: "copy" },
      waiting: { type: "string", default: "default" },
      size: { type: "string", default: "100" },
      count: { type: "string", default: "1000" },
      warmup: { type: "string", default: "100" },
      sockets: { type: "string", default: "," },
      topic: { type: "string", default: "ping" },
    },
  });
  return {
    transport: values.transport,
    moving: values.moving,
    size: Number(values.size),
    count: Number(values.count),
    warmup: Number(values.warmup),
    sockets: values.sockets.split(","),
    topic: values.topic,
  };
}

/** Makes message number `round`. */
function make(to: Uint8Array, round: number): void {
  new Uint32Array(to.buffer, to.byteOffset, to.length >> 2).fill(round);
}

/** Looks at every byte of message number `round`. */
function look(at: Uint8Array, round: number): void {
  const words = new Uint32Array(at.buffer, at.byteOffset, at.length >> 2);
  let sum = 0;
  // By index: an iterator would take four times as long, and hide what carries the bytes.
  for (let i = 0; i < words.length; i++) sum = (sum + (words[i] ?? 0)) | 0;
  if (sum !== Math.imul(words.length, round)) throw new Error("the message is another one");
}

class Recorder {
  readonly #micros: Float64Array;
  readonly #options: Options;
  readonly rounds: number;
  #began = 0;
  #before = 0;

  constructor(options: Options) {
    this.#options = options;
    this.rounds = options.warmup + options.count;
    this.#micros = new Float64Array(options.count);
  }

  begin(round: number): void {
    this.#before = performance.now();
    if (round === this.#options.warmup + 1) this.#began = this.#before;
  }

  end(round: number): void {
    const at = round - this.#options.warmup - 1;
    if (at >= 0) this.#micros[at] = (performance.now() - this.#before) * 1000;
  }

  print(counts: object): void {
    const seconds = (performance.now() - this.#began) / 1000;
    const sorted = this.#micros.toSorted();
    const at = (quantile: number): number =>
      sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? 0;
    const figures = {
      p50Us: at(0.5),
      p99Us: at(0.99),
      p999Us: at(0.999),
      maxUs: at(1),
      perSecond: this.#options.count / seconds,
      operations: this.rounds,
      ...counts,
    };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
  }
}

// ---- channels ----

interface ChannelEnd {
  readonly client: ShimmyClient;
  readonly writer: Producer | Publisher;
  readonly reader: Consumer | Subscriber;
}

async function openChannels(options: Options, side: 0 | 1): Promise<ChannelEnd> {
  const client = await ShimmyClient.connect({ socket: options.sockets[side] ?? "" });
  // As in bench/native/channel_ping.cc.
  const perMessage = Math.ceil(options.size / BLOCK_BYTES);
  const isLarge = options.transport !== "lock" && perMessage > 4;
  const sizes = isLarge
    ? { blocks: 16, blockBytes: BLOCK_BYTES * perMessage }
    : { blocks: 64, blockBytes: BLOCK_BYTES };
  const names = [`${options.topic}-there`, `${options.topic}-back`] as const;
  const [out, back] = side === 0 ? names : ([names[1], names[0]] as const);
  const isLock = options.transport === "lock";
  const writer = isLock
    ? await client.producer(out, { parameters: { kind: "lock", ...sizes } })
    : await client.publisher(out, { parameters: { kind: "lockfree", ...sizes } });
  const reader = isLock
    ? await client.consumer(back, { parameters: { kind: "lock", ...sizes } })
    : await client.subscriber(back, { parameters: { kind: "lockfree", ...sizes } });
  while (writer.info().peers === 0 || reader.info().peers === 0) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return { client, writer, reader };
}

function playChannels({ writer, reader }: ChannelEnd, options: Options, record?: Recorder): void {
  const out = new Uint8Array(new ArrayBuffer(options.size));
  const into = new Uint8Array(new ArrayBuffer(options.size));
  const isLoan = options.moving === "loan";
  const send = (round: number): void => {
    if (isLoan) {
      using room = writer.reserveSync(options.size, NEVER_SO_LONG);
      make(room.bytes, round);
      room.commit();
    } else {
      make(out, round);
      writer.publishSync(out, NEVER_SO_LONG);
    }
  };
  const receive = (round: number): void => {
    if (isLoan) {
      using loan = reader.loanSync(NEVER_SO_LONG);
      if (loan === undefined) throw new Error("ended");
      look(loan.data, round);
    } else {
      if (reader.takeIntoSync(into, NEVER_SO_LONG) === undefined) throw new Error("ended");
      look(into, round);
    }
  };
  for (let round = 1; round <= options.warmup + options.count; round++) {
    record?.begin(round);
    if (record !== undefined) send(round);
    receive(round);
    if (record === undefined) send(round);
    record?.end(round);
  }
}

/** The same by calls that do not block the event loop, as sockets are used. */
async function playChannelsByEvents(
  { writer, reader }: ChannelEnd,
  options: Options,
  record?: Recorder,
): Promise<void> {
  const out = new Uint8Array(new ArrayBuffer(options.size));
  const into = new Uint8Array(new ArrayBuffer(options.size));
  for (let round = 1; round <= options.warmup + options.count; round++) {
    record?.begin(round);
    if (record !== undefined) {
      make(out, round);
      await writer.publish(out, NEVER_SO_LONG);
    }
    if ((await reader.takeInto(into, NEVER_SO_LONG)) === undefined) throw new Error("ended");
    look(into, round);
    if (record === undefined) {
      make(out, round);
      await writer.publish(out, NEVER_SO_LONG);
    }
    record?.end(round);
  }
}

// ---- sockets ----

/** A socket that delivers whole messages. */
interface Messages {
  send(message: Uint8Array): void;
  onMessage: (message: Uint8Array) => void;
  close(): void;
}

function overStream(socket: Socket, size: number): Messages {
  const message = Buffer.from(new ArrayBuffer(size));
  let filled = 0;
  const messages: Messages = {
    send: (out) => socket.write(out),
    onMessage: () => undefined,
    close: () => socket.destroy(),
  };
  socket.on("data", (piece: Buffer) => {
    for (let at = 0; at < piece.length;) {
      const copied = piece.copy(message, filled, at);
      at += copied;
      filled += copied;
      if (filled < size) continue;
      filled = 0;
      messages.onMessage(message);
    }
  });
  return messages;
}

function overDatagrams(socket: Datagrams, port: number, size: number): Messages {
  const own = new Uint8Array(new ArrayBuffer(size));
  const messages: Messages = {
    send: (out) => {
      socket.send(out, port, "127.0.0.1");
    },
    onMessage: () => undefined,
    close: () => socket.close(),
  };
  socket.on("message", (message) => {
    own.set(message);
    messages.onMessage(own);
  });
  return messages;
}

async function bindDatagrams(): Promise<Datagrams> {
  const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 20 });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

type Address = { readonly port: number } | { readonly path: string };

async function serveSocket(options: Options): Promise<Messages> {
  const { transport, size } = options;
  if (transport === "udp") {
    const socket = await bindDatagrams();
    const told = once(process, "message") as Promise<[Address & { port: number }]>;
    process.send?.({ port: socket.address().port });
    return overDatagrams(socket, (await told)[0].port, size);
  }
  const server = createServer({ noDelay: true });
  const path = join(process.cwd(), `ping-${process.pid}.sock`);
  server.listen(transport === "tcp" ? { port: 0, host: "127.0.0.1" } : { path });
  await once(server, "listening");
  const bound = server.address();
  process.send?.(typeof bound === "string" ? { path } : { port: bound?.port });
  const [socket] = (await once(server, "connection")) as [Socket];
  server.close();
  return overStream(socket, size);
}

async function connectSocket(options: Options, child: ChildProcess): Promise<Messages> {
  const [address] = (await once(child, "message")) as [Address];
  if (options.transport === "udp" && "port" in address) {
    const socket = await bindDatagrams();
    child.send({ port: socket.address().port });
    return overDatagrams(socket, address.port, options.size);
  }
  const socket = connect("port" in address ? { ...address, host: "127.0.0.1" } : address);
  socket.setNoDelay(true);
  await once(socket, "connect");
  return overStream(socket, options.size);
}

function playSocket(messages: Messages, options: Options, record: Recorder): Promise<void> {
  const out = new Uint8Array(new ArrayBuffer(options.size));
  let round = 0;
  const next = (): void => {
    record.begin(++round);
    make(out, round);
    messages.send(out);
  };
  return new Promise((resolve) => {
    messages.onMessage = (message) => {
      look(message, round);
      record.end(round);
      if (round < record.rounds) next();
      else resolve();
    };
    next();
  });
}

function answerSocket(messages: Messages, options: Options): Promise<void> {
  const rounds = options.warmup + options.count;
  const out = new Uint8Array(new ArrayBuffer(options.size));
  let round = 0;
  return new Promise((resolve) => {
    messages.onMessage = (message) => {
      look(message, ++round);
      make(out, round);
      messages.send(out);
      if (round === rounds) resolve();
    };
  });
}

async function serve(options: Options): Promise<void> {
  process.on("disconnect", () => process.exit(0));
  if (options.transport.startsWith("lock")) {
    const end = await openChannels(options, 1);
    if (options.moving === "async") await playChannelsByEvents(end, options);
    else playChannels(end, options);
  } else {
    const messages = await serveSocket(options);
    await answerSocket(messages, options);
  }
  // Stays until the other side has read all of it, and says so by its end.
}

async function ping(options: Options): Promise<void> {
  const child = fork(import.meta.filename, [SERVE, ...process.argv.slice(2)]);
  const record = new Recorder(options);
  if (options.transport.startsWith("lock")) {
    const end = await openChannels(options, 0);
    if (options.moving === "async") await playChannelsByEvents(end, options, record);
    else playChannels(end, options, record);
    const published = end.writer.counters().messages;
    const taken = end.reader.counters().messages;
    record.print({ published, taken });
    await end.client.close();
  } else {
    const messages = await connectSocket(options, child);
    await playSocket(messages, options, record);
    record.print({});
    messages.close();
  }
  child.disconnect();
  await once(child, "exit");
}

const options = readOptions();
await (process.argv.includes(SERVE) ? serve(options) : ping(options));
