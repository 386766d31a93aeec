// Streams of messages between Node processes: the TypeScript twin of bench/native/channel_flow.cc,
// with the arguments it needs of it, the same files of the gate and the same output.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Consumer, type Producer, ShimmyClient } from "../../sdk/typescript/index.ts";

const POLL_MS = 2;

interface Options {
  readonly transport: string;
  readonly isLoan: boolean;
  readonly sessions: number;
  readonly size: number;
  readonly count: number;
  readonly gate: string;
  readonly sockets: readonly string[];
  readonly topic: string;
}

/** What the parent says to a child, once each and in this order. */
type Order = { readonly port: number } | "go" | "end";

/** What a child says to the parent. */
interface Report {
  readonly step: "port" | "ready" | "done";
  readonly port?: number;
  readonly messages?: number;
  readonly counted?: number;
}

const { values: given } = parseArgs({
  args: process.argv.slice(2),
  options: {
    role: { type: "string", default: "" },
    session: { type: "string", default: "0" },
    transport: { type: "string", default: "tcp" },
    moving: { type: "string", default: "copy" },
    sessions: { type: "string", default: "1" },
    size: { type: "string", default: "10000" },
    count: { type: "string", default: "10000" },
    gate: { type: "string", default: "" },
    sockets: { type: "string", default: "," },
    topic: { type: "string", default: "flow" },
  },
});
const options: Options = {
  transport: given.transport,
  isLoan: given.moving === "loan",
  sessions: Number(given.sessions),
  size: Number(given.size),
  count: Number(given.count),
  gate: given.gate,
  sockets: given.sockets.split(","),
  topic: `${given.topic}-${given.session}`,
};

/** Makes message number `round`. */
function make(to: Uint8Array, round: number): void {
  new Uint32Array(to.buffer, to.byteOffset, to.length >> 2).fill(round);
}

/** Looks at every byte of message number `round`. */
function look(at: Uint8Array, round: number): void {
  const words = new Uint32Array(at.buffer, at.byteOffset, at.length >> 2);
  let sum = 0;
  for (let i = 0; i < words.length; i++) sum = (sum + (words[i] ?? 0)) | 0;
  if (sum !== Math.imul(words.length, round)) throw new Error("the message is another one");
}

// ---- children ----

const orders: Order[] = [];
let wake: () => void = () => undefined;

async function order(): Promise<Order> {
  for (;;) {
    const next = orders.shift();
    if (next !== undefined) return next;
    await new Promise<void>((resolve) => (wake = resolve));
  }
}

function report(what: Report): void {
  process.send?.(what);
}

/** One side of a session: what it does, and what the channel itself counts. */
interface Side {
  run(): Promise<number>;
  counted(): number;
  close(): Promise<void> | void;
}

async function awaitPeer(endpoint: Producer | Consumer): Promise<void> {
  while (endpoint.info().peers === 0) await delay(POLL_MS);
}

async function channelProducer(): Promise<Side> {
  const client = await ShimmyClient.connect({ socket: options.sockets[0] ?? "" });
  const producer = await client.producer(options.topic, { parameters: {} });
  await awaitPeer(producer);
  const out = new Uint8Array(new ArrayBuffer(options.size));
  return {
    run: async () => {
      for (let round = 1; round <= options.count; round++) {
        if (options.isLoan) {
          using room = await producer.reserve(options.size);
          make(room.bytes, round);
          room.commit();
        } else {
          make(out, round);
          await producer.publish(out);
        }
      }
      producer.end();
      await producer.drain();
      return options.count;
    },
    counted: () => producer.counters().messages,
    close: () => client.close(),
  };
}

async function channelConsumer(): Promise<Side> {
  const client = await ShimmyClient.connect({ socket: options.sockets[1] ?? "" });
  const consumer = await client.consumer(options.topic, { parameters: {} });
  await awaitPeer(consumer);
  const into = new Uint8Array(new ArrayBuffer(options.size));
  return {
    run: async () => {
      for (let round = 1; ; round++) {
        if (options.isLoan) {
          using loan = await consumer.loan();
          if (loan === undefined) return round - 1;
          look(loan.data, round);
        } else {
          if ((await consumer.takeInto(into)) === undefined) return round - 1;
          look(into, round);
        }
      }
    },
    counted: () => consumer.counters().messages,
    close: () => client.close(),
  };
}

async function socketConsumer(): Promise<Side> {
  const server = createServer({ noDelay: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("not a TCP port");
  report({ step: "port", port: bound.port });
  const [socket] = (await once(server, "connection")) as [Socket];
  server.close();
  return {
    run: async () => {
      const message = Buffer.from(new ArrayBuffer(options.size));
      let filled = 0;
      let round = 0;
      socket.on("data", (piece: Buffer) => {
        for (let at = 0; at < piece.length;) {
          const copied = piece.copy(message, filled, at);
          at += copied;
          filled += copied;
          if (filled < options.size) continue;
          filled = 0;
          look(message, ++round);
        }
      });
      await once(socket, "end");
      return round;
    },
    counted: () => 0,
    close: () => {
      socket.destroy();
    },
  };
}

async function socketProducer(): Promise<Side> {
  const told = await order();
  if (typeof told === "string") throw new Error("no port");
  const socket = connect({ port: told.port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  return {
    run: async () => {
      for (let round = 1; round <= options.count; round++) {
        // A socket keeps what it is given until it is sent: a new one each time.
        const out = new Uint8Array(new ArrayBuffer(options.size));
        make(out, round);
        if (!socket.write(out)) await once(socket, "drain");
      }
      socket.end();
      await once(socket, "finish");
      return options.count;
    },
    counted: () => 0,
    close: () => {
      socket.destroy();
    },
  };
}

async function play(role: string): Promise<void> {
  process.on("message", (next) => {
    orders.push(next as Order);
    wake();
  });
  process.on("disconnect", () => process.exit(1));
  const isLock = options.transport === "lock";
  const producer = isLock ? channelProducer : socketProducer;
  const consumer = isLock ? channelConsumer : socketConsumer;
  const side = await (role === "producer" ? producer() : consumer());
  report({ step: "ready" });
  await order();
  const messages = await side.run();
  report({ step: "done", messages, counted: side.counted() });
  await order();
  await side.close();
  process.exit(0);
}

// ---- the parent ----

class Child {
  readonly role: "producer" | "consumer";
  readonly #process: ChildProcess;
  readonly #reports: Report[] = [];
  #wake: () => void = () => undefined;

  constructor(role: "producer" | "consumer", session: number) {
    this.role = role;
    const args = ["--role", role, "--session", String(session), ...process.argv.slice(2)];
    this.#process = fork(import.meta.filename, args);
    this.#process.on("message", (report) => {
      this.#reports.push(report as Report);
      this.#wake();
    });
    this.#process.on("exit", (code) => {
      if (code !== 0) process.exit(1);
    });
  }

  tell(next: Order): void {
    this.#process.send(next);
  }

  async reached(step: Report["step"]): Promise<Report> {
    for (;;) {
      const found = this.#reports.find((report) => report.step === step);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async ended(): Promise<void> {
    if (this.#process.exitCode === null) await once(this.#process, "exit");
  }
}

async function lead(): Promise<void> {
  const children: Child[] = [];
  for (let session = 0; session < options.sessions; session++) {
    const producer = new Child("producer", session);
    const consumer = new Child("consumer", session);
    children.push(producer, consumer);
    if (options.transport !== "tcp") continue;
    const { port = 0 } = await consumer.reached("port");
    producer.tell({ port });
  }
  await Promise.all(children.map((child) => child.reached("ready")));
  writeFileSync(`${options.gate}.ready`, "");
  await passed("go");
  for (const child of children) child.tell("go");
  const reports = await Promise.all(
    children.map(async (child) => ({ role: child.role, ...(await child.reached("done")) })),
  );
  writeFileSync(`${options.gate}.done`, "");
  await passed("end");
  for (const child of children) child.tell("end");
  await Promise.all(children.map((child) => child.ended()));
  const sum = (role: string, name: "messages" | "counted"): number =>
    reports.filter((one) => one.role === role).reduce((total, one) => total + (one[name] ?? 0), 0);
  const tally = {
    sent: sum("producer", "messages"),
    received: sum("consumer", "messages"),
    published: sum("producer", "counted"),
    taken: sum("consumer", "counted"),
  };
  process.stdout.write(`${JSON.stringify(tally)}\n`);
}

async function passed(step: string): Promise<void> {
  while (!existsSync(`${options.gate}.${step}`)) await delay(POLL_MS);
}

await (given.role === "" ? lead() : play(given.role));
