import { createLogger, type Logger } from "../../../common/log.ts";
import type { AgentMessage, ClientMessage } from "../../../agent/api.ts";
import { encodeMessage, parseAgentMessage } from "../../../agent/api.ts";
import type { BrokerMember } from "../../../agent/broker.ts";
import type { Catalog } from "../../../agent/catalog.ts";
import { ChannelBroker, type ChannelBrokerDeps } from "../../../agent/channels/broker.ts";
import { Claims } from "../../../agent/channels/claims.ts";
import { MemoryRegistry } from "../../../agent/channels/registry.ts";
import { createAgentMetrics } from "../../../agent/metrics.ts";
import { parseCatalog } from "../../../agent/parse-catalog.ts";
import { DEFAULT_QUOTAS } from "../../../agent/quotas.ts";
import type { Clock } from "../../../common/clock.ts";
import type {
  AgentNative,
  Credentials,
  Fd,
  MessageHandlers,
  MessageSocket,
} from "../../../agent/native.ts";
import type { MemfdFacts } from "../../../agent/memfd.ts";
import type { ShimmyError } from "../../../common/errors.ts";

/** Time that a test moves by hand. */
export class FakeClock implements Clock {
  #now = 1000;
  #timers: { at: number; period?: number; action: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(delayMs: number, action: () => void): () => void {
    return this.#add({ at: this.#now + delayMs, action });
  }

  every(periodMs: number, action: () => void): () => void {
    return this.#add({ at: this.#now + periodMs, period: periodMs, action });
  }

  /** How many timers are waiting. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Lets time pass and runs what falls due, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [due] = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (due === undefined) break;
      this.#now = due.at;
      if (due.period === undefined) this.#timers = this.#timers.filter((timer) => timer !== due);
      else due.at += due.period;
      due.action();
    }
    this.#now = end;
  }

  #add(timer: { at: number; period?: number; action: () => void }): () => void {
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }
}

/** A descriptor that counts as open until it is closed or released. */
export class FakeFd implements Fd {
  readonly native: FakeNative;
  readonly #number: number;

  constructor(native: FakeNative, number: number) {
    this.native = native;
    this.#number = number;
    native.open.add(number);
  }

  get number(): number {
    if (!this.native.open.has(this.#number)) throw new Error(`fd ${this.#number} is closed`);
    return this.#number;
  }

  close(): void {
    this.native.open.delete(this.#number);
  }

  release(): number {
    const { number } = this;
    this.close();
    return number;
  }
}

/** Descriptors without a kernel. */
export class FakeNative implements AgentNative {
  /** Numbers that are open. */
  readonly open = new Set<number>();
  /** Numbers that were shut down. */
  readonly shutDown: number[] = [];
  /** Numbers that are not sockets of a session. */
  readonly foreign = new Set<number>();
  /** Set to make {@link FakeNative.socketPair} fail. */
  isExhausted = false;
  #next = 100;

  /** A descriptor as a client would send it. */
  fd(): FakeFd {
    return new FakeFd(this, this.#next++);
  }

  listen(): never {
    throw new Error("a unit test opens no sockets");
  }

  socketPair(): [Fd, Fd] {
    if (this.isExhausted) throw new Error("EMFILE");
    return [this.fd(), this.fd()];
  }

  shutdown(fd: Fd): void {
    this.shutDown.push(fd.number);
  }

  isSessionSocket(fd: Fd): boolean {
    return !this.foreign.has(fd.number);
  }

  /** What is said of descriptors that are looked at. */
  facts: MemfdFacts = { bytes: 0, allocatedBytes: 0, id: "1" };

  inspectMemfd(fd: Fd): Promise<MemfdFacts> {
    return Promise.resolve({ ...this.facts, id: String(fd.number) });
  }

  discard(fd: Fd): void {
    fd.close();
  }

  peerCredentials(): Credentials {
    return { pid: 1, uid: 0 };
  }
}

/** What a member or a client was sent. */
export interface Sent {
  readonly message: AgentMessage;
  readonly fds: readonly number[];
}

/** A sidecar as the broker sees it. */
export class FakeMember implements BrokerMember {
  readonly pod: string;
  canPassFds = true;
  /** `false`: sending fails. */
  isReachable = true;
  readonly sent: Sent[] = [];

  constructor(pod: string) {
    this.pod = pod;
  }

  send(message: AgentMessage, fds: readonly Fd[] = []): boolean {
    if (!this.isReachable) return false;
    this.sent.push({ message, fds: fds.map(({ number }) => number) });
    return true;
  }

  /** Messages of a type, and forgets all. */
  take<T extends AgentMessage["type"]>(type: T): (AgentMessage & { type: T })[] {
    return this.sent
      .splice(0)
      .map(({ message }) => message)
      .filter((message): message is AgentMessage & { type: T } => message.type === type);
  }

  get types(): string[] {
    return this.sent.map(({ message }) => message.type);
  }
}

/** The agent's end of a connection; the test is the client. */
export class FakeSocket implements MessageSocket {
  readonly peer: Credentials;
  readonly sent: Sent[] = [];
  isClosed = false;
  /** `false`: the client does not read. */
  isRead = true;
  #handlers: MessageHandlers | undefined;

  constructor(peer: Credentials = { pid: 42, uid: 1000 }) {
    this.peer = peer;
  }

  start(handlers: MessageHandlers): void {
    this.#handlers = handlers;
  }

  send(data: Buffer, fds: readonly number[] = []): boolean {
    if (this.isClosed) throw new Error("socket is closed");
    this.sent.push({ message: parseAgentMessage(data), fds });
    return this.isRead;
  }

  close(): void {
    this.isClosed = true;
  }

  /** Sends a message as the client would. */
  deliver(message: ClientMessage, fds: Fd[] = []): void {
    this.deliverBytes(encodeMessage(message), fds);
  }

  /** Sends any bytes as the client would. */
  deliverBytes(data: Buffer, fds: Fd[] = []): void {
    this.#handlers?.onMessage(data, fds);
  }

  /** Ends the connection as the client or the kernel would. */
  hangUp(err?: ShimmyError): void {
    this.isClosed = true;
    this.#handlers?.onClose(err);
  }

  get types(): string[] {
    return this.sent.map(({ message }) => message.type);
  }

  get last(): AgentMessage | undefined {
    return this.sent.at(-1)?.message;
  }
}

/** A broker of channels with nothing in it. */
export function channelBroker(
  catalog: Catalog,
  options: Partial<ChannelBrokerDeps> = {},
): ChannelBroker {
  return new ChannelBroker(catalog, {
    native: new FakeNative(),
    registry: new MemoryRegistry(),
    claims: new Claims(Buffer.alloc(32, 1)),
    clock: new FakeClock(),
    quotas: DEFAULT_QUOTAS,
    metrics: createAgentMetrics(),
    log: silentLog(),
    graceMs: 60_000,
    ...options,
  });
}

/** A logger that writes nothing. */
export function silentLog(): Logger {
  return createLogger({ process: "test", level: "silent" });
}

/** A catalog of YAML text. */
export function catalogOf(text: string): Catalog {
  return parseCatalog(text, "catalog.yaml", { node: "here", uid: 1000 });
}
