import {
  parseClientMessage,
  type AgentMessage,
  type ClientMessage,
  type PodIdentity,
  type SessionMessage,
} from "../../../agent/api.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { createLogger, type Logger } from "../../../common/log.ts";
import { END_REASONS, FALLBACK_REASONS } from "../../../common/reasons.ts";
import type {
  RelayCounters,
  RelayDeliveryRule,
  RelayDrainResult,
  RelayEvents,
  RelayListener,
  RelayListenOptions,
  RelayOptions,
  RelayStreamInfo,
  RelayUpstream,
} from "../../../shm-core/lib/relay.ts";
import type {
  AgentSocket,
  AgentSocketHandlers,
  Fd,
  SessionInit,
  SidecarNative,
  SidecarRelay,
} from "../../../sidecar/native.ts";

/** Lets promises that are settled run what waits for them. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

/** A logger and what it wrote. */
export function captureLog(): { log: Logger; events: Record<string, unknown>[] } {
  const events: Record<string, unknown>[] = [];
  const write = (line: string): void => {
    events.push(JSON.parse(line) as Record<string, unknown>);
  };
  return { log: createLogger({ process: "test", level: "debug", sink: { write } }), events };
}

/** A descriptor that counts as open until it is closed or released. */
export class FakeFd implements Fd {
  static #last = 100;
  readonly number = ++FakeFd.#last;
  isOpen = true;

  close(): void {
    this.isOpen = false;
  }

  release(): number {
    this.isOpen = false;
    return this.number;
  }
}

/** The agent's end of a connection. */
export class FakeAgentSocket implements AgentSocket {
  readonly agentUid = 0;
  readonly agentPid = 0;
  readonly sent: ClientMessage[] = [];
  readonly sentFds: number[] = [];
  isClosed = false;
  /** Set: `send` throws it. */
  sendError: ShimmyError | undefined;
  #handlers: AgentSocketHandlers | undefined;

  start(handlers: AgentSocketHandlers): void {
    this.#handlers = handlers;
  }

  send(data: Buffer, fds: readonly number[] = []): boolean {
    if (this.isClosed) throw new ShimmyError("SHIMMY_ERR_CLOSED", "socket is closed");
    if (this.sendError !== undefined) throw this.sendError;
    this.sent.push(parseClientMessage(data));
    this.sentFds.push(...fds);
    return true;
  }

  close(): void {
    this.isClosed = true;
  }

  /** The agent says something. */
  receive(message: AgentMessage | Buffer, fds: Fd[] = []): void {
    const data = Buffer.isBuffer(message) ? message : Buffer.from(JSON.stringify(message));
    this.#handlers?.onMessage(data, fds);
  }

  /** The agent hangs up. */
  end(err?: ShimmyError): void {
    this.isClosed = true;
    this.#handlers?.onClose(err);
  }

  /** What was sent, of one type. */
  ofType<T extends ClientMessage["type"]>(type: T): Extract<ClientMessage, { type: T }>[] {
    return this.sent.filter(
      (message): message is Extract<ClientMessage, { type: T }> => message.type === type,
    );
  }
}

/** A relay that carries nothing, and remembers what it was told. */
export class FakeRelay implements SidecarRelay {
  readonly calls: unknown[][] = [];
  readonly listeners: RelayListener[] = [];
  readonly upstreams = new Map<number, RelayUpstream>();
  readonly owned: Fd[] = [];
  delivery: readonly RelayDeliveryRule[] | undefined;
  values: Record<string, number> = {};
  open: RelayStreamInfo[] = [];
  drained = Promise.withResolvers<RelayDrainResult>();
  isStopped = false;
  /** Set: `listen` asks it for an error. */
  refuse: (options: RelayListenOptions) => ShimmyError | undefined = () => undefined;
  /** Set: `addSession` throws it. */
  sessionError: ShimmyError | undefined;

  listen(options: RelayListenOptions): RelayListener {
    const error = this.refuse(options);
    if (error !== undefined) throw error;
    const { address, port, upstream } = options;
    const listener = { id: this.listeners.length + 1, address, port };
    this.listeners.push(listener);
    this.upstreams.set(listener.id, upstream);
    return listener;
  }

  setUpstream(ids: readonly number[], upstream: RelayUpstream): void {
    for (const id of ids) this.upstreams.set(id, upstream);
  }

  setDelivery(rules: readonly RelayDeliveryRule[]): void {
    this.delivery = rules;
  }

  addSession(init: SessionInit): void {
    if (this.sessionError !== undefined) throw this.sessionError;
    this.owned.push(init.fd);
    this.calls.push(["addSession", init.id, init.side, init.peer.pod, init.accept]);
  }

  failSession(pod: string, reason: string): void {
    this.calls.push(["failSession", pod, reason]);
  }

  setGrants(id: string, accept: unknown): void {
    this.calls.push(["setGrants", id, accept]);
  }

  revoke(id: string, grants: unknown): void {
    this.calls.push(["revoke", id, grants]);
  }

  closeSession(id: string): void {
    this.calls.push(["closeSession", id]);
  }

  sessions(): [] {
    return [];
  }

  streams(): RelayStreamInfo[] {
    return this.open;
  }

  counters(): RelayCounters {
    return countersOf(this.values);
  }

  drain(timeoutMs: number): Promise<RelayDrainResult> {
    this.calls.push(["drain", timeoutMs]);
    return this.drained.promise;
  }

  stop(): void {
    this.isStopped = true;
  }
}

/** Counters with these native values, everything else 0. */
export function countersOf(values: Readonly<Record<string, number>>): RelayCounters {
  const histogram = { boundsMicros: [50, 100], buckets: [0, 0, 0], sumNanos: 0 };
  return {
    values: new Map(Object.entries(values)),
    fallbacks: zeros(FALLBACK_REASONS),
    ends: zeros(END_REASONS),
    openLatency: histogram,
    queueLatency: histogram,
  };
}

function zeros<T extends string>(names: readonly T[]): Record<T, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<T, number>;
}

/** A native library without an addon behind it. */
export class FakeNative implements SidecarNative {
  readonly relay = new FakeRelay();
  readonly duplicates: FakeFd[] = [];
  readonly shutDown: Fd[] = [];
  relayOptions: RelayOptions | undefined;
  events: RelayEvents | undefined;
  /** What `connect` gives; `undefined` refuses. */
  socket: FakeAgentSocket | undefined;
  /** Path of the last `connect`. */
  connectedTo: string | undefined;

  startRelay(options: RelayOptions, events: RelayEvents): SidecarRelay {
    this.relayOptions = options;
    this.events = events;
    return this.relay;
  }

  connect(path: string): Promise<AgentSocket> {
    this.connectedTo = path;
    if (this.socket !== undefined) return Promise.resolve(this.socket);
    return Promise.reject(new ShimmyError("SHIMMY_ERR_SYSTEM", `connect to ${path}: ENOENT`));
  }

  duplicate(): Fd {
    const fd = new FakeFd();
    this.duplicates.push(fd);
    return fd;
  }

  shutdown(fd: Fd): void {
    this.shutDown.push(fd);
  }
}

/** The pod whose sidecar is tested. */
export const SELF: PodIdentity = {
  uid: "default.client-1",
  namespace: "default",
  name: "client-1",
  node: "laptop",
  addresses: ["127.0.1.2"],
};

/** Another pod. */
export const PEER: PodIdentity = {
  uid: "default.web-1",
  namespace: "default",
  name: "web-1",
  node: "laptop",
  addresses: ["127.0.1.3"],
};

/** What the agent says first. */
export const WELCOME: AgentMessage & { type: "welcome" } = {
  type: "welcome",
  version: 1,
  pod: SELF,
  appPorts: [8080],
  appAddress: "127.0.1.2",
};

/** A session with {@link PEER}, as the agent gives it. */
export function sessionMessage(session: string, request?: number): SessionMessage {
  return {
    type: "session",
    session,
    side: "initiator",
    peer: PEER,
    accept: [{ service: "default/client", port: 8080 }],
    connect: [{ service: "default/web", port: 8080 }],
    ...(request === undefined ? {} : { request }),
  };
}
