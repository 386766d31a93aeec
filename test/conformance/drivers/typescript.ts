// Calls the TypeScript SDK for test/conformance: see its README.md for the protocol.
import { createInterface } from "node:readline";
import { crc32 } from "node:zlib";

import {
  Producer,
  Publisher,
  ShimmyClient,
  ShimmyError,
  TopicDeniedError,
  type Consumer,
  type EndpointOptions,
  type Loan,
  type LockFreeParameters,
  type Message,
  type Room,
  type Subscriber,
} from "../../../sdk/typescript/index.ts";

type Writer = Producer | Publisher;
type Reader = Consumer | Subscriber;
type Fields = Readonly<Record<string, unknown>>;
type Answer = Record<string, unknown>;

/** A command's fields, which the cases are trusted with. */
class Command {
  readonly #fields: Fields;

  constructor(fields: Fields) {
    this.#fields = fields;
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined;
  }

  text(name: string): string {
    const value = this.#fields[name];
    if (typeof value !== "string") throw new TypeError(`${name} is no text`);
    return value;
  }

  number(name: string): number {
    const value = this.#fields[name];
    if (typeof value !== "number") throw new TypeError(`${name} is no number`);
    return value;
  }

  numbers(name: string): readonly number[] {
    return this.#fields[name] as number[];
  }

  /** Those of the named fields that there are. */
  some(...names: readonly string[]): Fields {
    return Object.fromEntries(
      Object.entries(this.#fields).filter(([name]) => names.includes(name)),
    );
  }

  get isAsync(): boolean {
    return this.#fields["isAsync"] === true;
  }

  get isInPlace(): boolean {
    return this.#fields["in"] === "place";
  }

  get timeoutMs(): number {
    const value = this.number("timeoutMs");
    return value < 0 ? Infinity : value;
  }
}

const clients = new Map<string, ShimmyClient>();
const endpoints = new Map<string, Writer | Reader>();
const rooms = new Map<string, Room>();
const loans = new Map<string, Loan>();

const OPERATIONS: Readonly<Record<string, (command: Command) => Promise<Answer> | Answer>> = {
  async open(command) {
    const options = { socket: command.text("socket"), ...command.some("timeoutMs") };
    clients.set(command.text("client"), await ShimmyClient.connect(options));
    return {};
  },
  async close(command) {
    await named(clients, command.text("client")).close();
    return {};
  },
  async attach(command) {
    endpoints.set(command.text("endpoint"), await attach(command));
    return {};
  },
  detach(command) {
    named(endpoints, command.text("endpoint")).close();
    return {};
  },
  describe: (command) => ({ ...named(endpoints, command.text("endpoint")).info() }),
  counters: (command) => ({ ...named(endpoints, command.text("endpoint")).counters() }),
  publish,
  take,
  async reserve(command) {
    const room = await reserve(writerOf(command), command, command.number("bytes"));
    if (room === undefined) return { result: "timeout" };
    rooms.set(command.text("room"), room);
    return {};
  },
  fill(command) {
    fill(named(rooms, command.text("room")).bytes, command.number("seed"));
    return {};
  },
  commit(command) {
    named(rooms, command.text("room")).commit(
      command.has("bytes") ? command.number("bytes") : undefined,
    );
    return {};
  },
  cancel(command) {
    named(rooms, command.text("room")).cancel();
    return {};
  },
  end(command) {
    writerOf(command).end();
    return {};
  },
  async drain(command) {
    const producer = writerOf(command);
    if (!(producer instanceof Producer)) throw new TypeError("not a producer");
    await producer.drain({ timeoutMs: command.timeoutMs });
    return {};
  },
  async loan(command) {
    const reader = readerOf(command);
    const loan = await lend(reader, command);
    if (loan === undefined) return { result: nothing(reader) };
    loans.set(command.text("loan"), loan);
    return { messages: [described(loan)] };
  },
  read: (command) => ({ messages: [described(named(loans, command.text("loan")))] }),
  release(command) {
    named(loans, command.text("loan")).release();
    return {};
  },
};

async function attach(command: Command): Promise<Writer | Reader> {
  const client = named(clients, command.text("client"));
  const parameters = command.some(
    "kind",
    "blocks",
    "blockBytes",
    "readers",
    "timeToLiveMs",
    "maxLoans",
  );
  const options = {
    ...command.some("waitMode", "start"),
    ...(command.has("kind") ? { parameters } : {}),
  } as EndpointOptions<LockFreeParameters>;
  const topic = command.text("topic");
  switch (command.text("role")) {
    case "producer":
      return client.producer(topic, options as object);
    case "consumer":
      return client.consumer(topic, options as object);
    case "publisher":
      return client.publisher(topic, options);
    default:
      return client.subscriber(topic, options);
  }
}

async function publish(command: Command): Promise<Answer> {
  const writer = writerOf(command);
  const sizes = command.numbers("sizes");
  const count = command.number("count");
  for (let i = 0; i < count; i++) {
    const bytes = sizes[i % sizes.length] ?? 0;
    const seed = command.number("seed") + i;
    const problem = await orProblem(() => publishOne(writer, command, bytes, seed));
    if (problem !== undefined) return { ...problem, count: i };
  }
  return { count };
}

/** Publishes one message. @returns Whether there was room. */
async function publishOne(
  writer: Writer,
  command: Command,
  bytes: number,
  seed: number,
): Promise<boolean> {
  if (command.isInPlace) {
    using room = await reserve(writer, command, bytes);
    if (room === undefined) return false;
    fill(room.bytes, seed);
    room.commit();
    return true;
  }
  const data = fill(Buffer.alloc(bytes), seed);
  const { timeoutMs } = command;
  if (timeoutMs === 0) return writer.tryPublish(data);
  if (command.isAsync) await writer.publish(data, { timeoutMs });
  else writer.publishSync(data, { timeoutMs });
  return true;
}

async function reserve(writer: Writer, command: Command, bytes: number): Promise<Room | undefined> {
  const { timeoutMs } = command;
  if (timeoutMs === 0) return writer.tryReserve(bytes);
  return command.isAsync
    ? writer.reserve(bytes, { timeoutMs })
    : writer.reserveSync(bytes, { timeoutMs });
}

async function take(command: Command): Promise<Answer> {
  const reader = readerOf(command);
  const messages: Answer[] = [];
  const count = command.number("count");
  while (messages.length < count) {
    const problem = await orProblem(async () => {
      const message = await takeOne(reader, command);
      if (message !== undefined) messages.push(message);
      return message !== undefined;
    });
    if (problem === undefined) continue;
    const isOver = problem["result"] === "timeout" && reader.hasEnded;
    return { ...problem, ...(isOver ? { result: "ended" } : {}), messages };
  }
  return { messages };
}

async function takeOne(reader: Reader, command: Command): Promise<Answer | undefined> {
  if (command.isInPlace) {
    using loan = await lend(reader, command);
    return loan === undefined ? undefined : described(loan);
  }
  const { timeoutMs } = command;
  const message = await (timeoutMs === 0
    ? reader.tryTake()
    : command.isAsync
      ? reader.take({ timeoutMs })
      : reader.takeSync({ timeoutMs }));
  return message === undefined ? undefined : described(message);
}

async function lend(reader: Reader, command: Command): Promise<Loan | undefined> {
  const { timeoutMs } = command;
  if (timeoutMs === 0) return reader.tryLoan();
  return command.isAsync ? reader.loan({ timeoutMs }) : reader.loanSync({ timeoutMs });
}

/** Runs one step of a command; what it is stopped by, if it is. */
async function orProblem(step: () => Promise<boolean>): Promise<Answer | undefined> {
  try {
    return (await step()) ? undefined : { result: "timeout" };
  } catch (err) {
    return failure(err);
  }
}

function nothing(reader: Reader): string {
  return reader.hasEnded ? "ended" : "timeout";
}

function described(message: Message): Answer {
  const { data, sequence, generation, missed } = message;
  return {
    bytes: data.length,
    crc32: crc32(data),
    sequence: String(sequence),
    generation: String(generation),
    missed,
  };
}

function fill(bytes: Buffer, seed: number): Buffer {
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = i < 8 ? Math.floor(seed / 2 ** (8 * i)) & 255 : ((i % 251) * 31 + seed) & 255;
  }
  return bytes;
}

function failure(err: unknown): Answer {
  if (!(err instanceof ShimmyError)) throw err;
  if (err.code === "SHIMMY_ERR_TIMEOUT") return { result: "timeout" };
  const reason = err instanceof TopicDeniedError ? err.reason : "";
  return { result: "error", code: err.code, reason, message: err.message };
}

function writerOf(command: Command): Writer {
  const endpoint = named(endpoints, command.text("endpoint"));
  if (endpoint instanceof Producer || endpoint instanceof Publisher) return endpoint;
  throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "a reader does not write");
}

function readerOf(command: Command): Reader {
  const endpoint = named(endpoints, command.text("endpoint"));
  if (!(endpoint instanceof Producer || endpoint instanceof Publisher)) return endpoint;
  throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "a writer does not read");
}

function named<T>(things: ReadonlyMap<string, T>, name: string): T {
  const thing = things.get(name);
  if (thing === undefined) throw new Error(`there is no "${name}"`);
  return thing;
}

async function answerTo(command: Command): Promise<Answer> {
  const operation = OPERATIONS[command.text("op")];
  if (operation === undefined) throw new Error(`unknown op "${command.text("op")}"`);
  try {
    return await operation(command);
  } catch (err) {
    return failure(err);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const fields = JSON.parse(line) as Fields;
  const answer = await answerTo(new Command(fields));
  process.stdout.write(`${JSON.stringify({ id: fields["id"], result: "ok", ...answer })}\n`);
}
for (const client of clients.values()) await client.close();
