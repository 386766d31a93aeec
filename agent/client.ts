import { messageOf, ShimmyError, toShimmyError } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import {
  CHANNELS_PROTOCOL_VERSION,
  encodeMessage,
  HELLO_TIMEOUT_MS,
  MIN_PROTOCOL_VERSION,
  parseClientMessage,
  PROTOCOL_VERSION,
  splitEndpoints,
  toVersion1,
  type AgentMessage,
  type ChannelClientMessage,
  type ChannelsHelloMessage,
  type ClientMessage,
  type HelloMessage,
  type ReportMessage,
} from "./api.ts";
import { attest } from "./attestation.ts";
import type { Broker, BrokerMember } from "./broker.ts";
import { identityOf, keyOf, type Catalog, type CatalogPod } from "./catalog.ts";
import type { ChannelBroker } from "./channels/broker.ts";
import type { ChannelMember } from "./channels/channel.ts";
import type { Clock } from "../common/clock.ts";
import { EndpointsView } from "./endpoints-view.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { AgentNative, Fd, MessageSocket } from "./native.ts";
import type { Quotas, TokenBucket } from "./quotas.ts";

/** What a {@link Client} works with. */
export interface ClientDeps {
  readonly broker: Broker;
  readonly native: Pick<AgentNative, "discard">;
  readonly clock: Clock;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
  /** Shared by all connections of the pod. */
  readonly messages: TokenBucket;
  /** Newest version to speak, if that is not the newest there is. */
  readonly newestVersion?: number | undefined;
  /** The present catalog. */
  readonly catalog: () => Catalog;
  readonly channels: ChannelBroker;
  readonly quotas: Quotas;
  /** The client has said hello: it is its pod's sidecar from here on. */
  readonly onWelcome: (client: Client) => void;
  /** The connection is closed. */
  readonly onClose: (client: Client) => void;
}

/** How long a client may leave its messages unread. */
const SLOW_READER_LIMIT_MS = 5000;
/**
 * Between the last message and the close. Closing a Unix socket with something unread makes the
 * peer's next read fail, before it gets to the message that says why (net/unix/af_unix.c,
 * unix_release_sock); until then what comes is read and dropped.
 */
const LINGER_MS = 100;

/** What one token of the message rate pays for: reading takes time by the byte. */
const BYTES_PER_TOKEN = 4096;

/** The result of a first message: what both sides agreed on, and who the client is. */
interface Agreed {
  readonly version: number;
  readonly canPassFds: boolean;
  /** A process that attaches channels; else the pod's sidecar. */
  readonly isForChannels: boolean;
}

/**
 * One connection of a pod's message socket. The other side is not trusted: any bytes, in any
 * order, at any rate, cost it its connection at most.
 *
 *   I1  no message has an effect before the user was attested and `hello` accepted
 *   I2  every descriptor received is handed on or closed
 *   I3  after the end of the connection nothing is sent and nothing has an effect
 */
export class Client implements BrokerMember, ChannelMember {
  /** UID. */
  readonly pod: string;
  /** Of the process that connected. */
  readonly pid: number;
  readonly #socket: MessageSocket;
  readonly #deps: ClientDeps;
  readonly #log: Logger;
  readonly #endpoints = new EndpointsView();
  #cancelTimer: () => void = () => undefined;
  #agreed: Agreed | undefined;
  #sentWelcome = "";
  #slowSince: number | undefined;
  #isEnded = false;
  #report: ReportMessage | undefined;

  constructor(pod: string, socket: MessageSocket, deps: ClientDeps) {
    this.pod = pod;
    this.pid = socket.peer.pid;
    this.#socket = socket;
    this.#deps = deps;
    this.#log = deps.log.child({ pod, peerPid: socket.peer.pid, peerUid: socket.peer.uid });
  }

  /** Checks who connected, and begins to listen to them. */
  start(): void {
    this.#cancelTimer = this.#deps.clock.after(HELLO_TIMEOUT_MS, () => {
      this.cutOff(new ShimmyError("SHIMMY_ERR_TIMEOUT", `no hello in ${HELLO_TIMEOUT_MS} ms`));
    });
    this.#socket.start({
      onMessage: (data, fds) => {
        this.#receive(data, fds);
      },
      onClose: (err) => {
        this.#end(err);
      },
    });
    this.#guard(() => {
      this.#attest(this.#self());
    });
  }

  get canPassFds(): boolean {
    return this.#agreed?.canPassFds === true;
  }

  /** Whether the connection has no effect any more. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** What it reported last, if it did. */
  get report(): ReportMessage | undefined {
    return this.#report;
  }

  /** See {@link BrokerMember.send}. A client that leaves its messages unread is cut off. */
  send(message: AgentMessage, fds: readonly Fd[] = []): boolean {
    if (this.#isEnded) return false;
    try {
      const isTaken = this.#socket.send(
        encodeMessage(message),
        fds.map(({ number }) => number),
      );
      this.#judgePace(isTaken);
      return !this.isEnded;
    } catch (err) {
      this.#log.warn({ type: message.type, problem: messageOf(err) }, "message not sent");
      return false;
    }
  }

  /** Sends what a new catalog changed for this client, or ends it when its pod is gone. */
  catalogChanged(): void {
    if (this.#agreed === undefined || this.#isEnded) return;
    const { version } = this.#agreed;
    this.#guard(() => {
      const pod = this.#self();
      this.#attest(pod);
      this.#welcome(pod, version);
      this.#pushEndpoints(pod, version);
    });
  }

  /** Closes the connection at once, as the agent stops. */
  close(): void {
    this.#cancelTimer();
    this.#socket.close();
    if (!this.#isEnded) this.#finish();
  }

  /** Tells the client why, and closes the connection. Safe to call twice. */
  cutOff(error: ShimmyError): void {
    if (this.#isEnded) return;
    this.#deps.metrics.cutOff.inc({ code: error.code });
    this.#log.warn({ code: error.code, problem: error.message }, "client cut off");
    this.#sendLast({ type: "error", code: error.code, message: error.message.slice(0, 512) });
    this.#finish();
    this.#cancelTimer = this.#deps.clock.after(LINGER_MS, () => {
      this.#socket.close();
      this.#deps.onClose(this);
    });
  }

  #receive(data: Buffer, fds: Fd[]): void {
    const left = [...fds];
    this.#guard(() => {
      if (this.#isEnded) return;
      if (!this.#deps.messages.take(Math.ceil(data.length / BYTES_PER_TOKEN))) {
        throw new ShimmyError("SHIMMY_ERR_RATE_LIMITED", "too many messages");
      }
      const message = parseClientMessage(data);
      this.#deps.metrics.messages.inc({ type: message.type });
      if (fds.length !== fdsOf(message)) {
        throw misuse(`${message.type} message with ${fds.length} descriptors`);
      }
      this.#dispatch(message, left);
    });
    for (const fd of left) this.#deps.native.discard(fd);
  }

  /** Runs a step; an error in it ends this connection and nothing else. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (err) {
      const error = toShimmyError(err);
      if (error.code === "SHIMMY_ERR_INTERNAL") this.#log.error({ err }, "message failed");
      this.cutOff(error);
    }
  }

  #attest(pod: CatalogPod): void {
    const refusal = attest(pod, this.#socket.peer);
    if (refusal !== undefined) throw refusal;
  }

  /** Takes from `fds` what it hands on. */
  #dispatch(message: ClientMessage, fds: Fd[]): void {
    if (message.type === "hello" || message.type === "channelsHello") {
      this.#hello(message);
      return;
    }
    if (this.#agreed === undefined) throw misuse(`${message.type} message before hello`);
    const { version, isForChannels } = this.#agreed;
    if (isChannelMessage(message) !== isForChannels) {
      throw misuse(`${message.type} message from ${isForChannels ? "no sidecar" : "a sidecar"}`);
    }
    if (isChannelMessage(message)) this.#deps.channels.receive(this, message, fds);
    else this.#dispatchSidecar(message, version, fds);
  }

  #dispatchSidecar(message: SidecarMessage, version: number, fds: Fd[]): void {
    switch (message.type) {
      case "watch":
        this.#endpoints.watch(message.services);
        this.#pushEndpoints(this.#self(), version);
        break;
      case "openSession":
        this.#deps.broker.open(this, message.request, message.pod);
        break;
      case "adopt":
        this.#adopt(message, fds);
        break;
      case "report":
        this.#report = message;
        this.#deps.broker.report(this, message.sessions);
        break;
      case "sessionEnded":
        this.#deps.broker.ended(this, message.session, message.reason);
    }
  }

  #adopt(message: SidecarMessage & { type: "adopt" }, fds: Fd[]): void {
    const fd = fds.pop();
    if (fd !== undefined) this.#deps.broker.adopt(this, message, fd);
  }

  #hello(message: HelloMessage | ChannelsHelloMessage): void {
    if (this.#agreed !== undefined) throw misuse("second hello");
    const self = this.#self();
    const { version, pod = self } = message;
    if (pod.namespace !== self.namespace || pod.name !== self.name) {
      throw new ShimmyError(
        "SHIMMY_ERR_NOT_ATTESTED",
        `hello from pod ${keyOf(pod)} on the socket of ${keyOf(self)}`,
      );
    }
    const isForChannels = message.type === "channelsHello";
    const agreed = this.#agree(version, isForChannels);
    if (isForChannels) this.#joinChannels();
    this.#cancelTimer();
    const canPassFds = isForChannels || message.capabilities.fdPassing;
    this.#agreed = { version: agreed, canPassFds, isForChannels };
    const who = isForChannels ? "process for channels" : "sidecar";
    this.#log.info({ version: agreed }, `${who} connected`);
    if (!isForChannels) {
      this.#deps.onWelcome(this);
      this.#deps.broker.join(this);
    }
    this.#welcome(self, agreed);
  }

  /** The version both speak: the lower of the two, if it is high enough. */
  #agree(version: number, isForChannels: boolean): number {
    const newest = this.#deps.newestVersion ?? PROTOCOL_VERSION;
    const agreed = Math.min(version, newest, PROTOCOL_VERSION);
    const needed = isForChannels ? CHANNELS_PROTOCOL_VERSION : MIN_PROTOCOL_VERSION;
    if (agreed >= needed) return agreed;
    throw new ShimmyError(
      "SHIMMY_ERR_VERSION_MISMATCH",
      `version ${version} of the protocol, at least ${needed} is needed`,
    );
  }

  /** Connections are left for the sidecar. */
  #joinChannels(): void {
    const { channels, quotas } = this.#deps;
    if (channels.membersOf(this.pod) >= quotas.channelProcessesPerPod) {
      throw new ShimmyError(
        "SHIMMY_ERR_LIMIT",
        `${quotas.channelProcessesPerPod} processes of the pod attach channels`,
      );
    }
    channels.join(this);
  }

  #welcome(pod: CatalogPod, version: number): void {
    const message: AgentMessage = {
      type: "welcome",
      version,
      pod: identityOf(pod),
      appPorts: pod.appPorts,
      appAddress: pod.address,
    };
    const text = JSON.stringify(message);
    if (text === this.#sentWelcome) return;
    this.#sentWelcome = text;
    this.send(message);
  }

  /** Sends the watched services whose endpoints the client does not have yet. */
  #pushEndpoints(pod: CatalogPod, version: number): void {
    const changed = this.#endpoints.changes(pod, this.#deps.catalog());
    const told = version < 2 ? changed.map(toVersion1) : changed;
    for (const message of splitEndpoints(told)) this.send(message);
  }

  #self(): CatalogPod {
    const pod = this.#deps.catalog().pods.get(this.pod);
    if (pod === undefined) {
      throw new ShimmyError(
        "SHIMMY_ERR_NOT_FOUND",
        `pod ${this.pod} is not in the catalog any more`,
      );
    }
    return pod;
  }

  #judgePace(isTaken: boolean): void {
    if (isTaken) {
      this.#slowSince = undefined;
      return;
    }
    const now = this.#deps.clock.now();
    this.#slowSince ??= now;
    if (now - this.#slowSince > SLOW_READER_LIMIT_MS) {
      this.cutOff(
        new ShimmyError("SHIMMY_ERR_SLOW_READER", `messages unread for ${SLOW_READER_LIMIT_MS} ms`),
      );
    }
  }

  /** The last words; a peer that does not listen changes nothing. */
  #sendLast(message: AgentMessage): void {
    try {
      this.#socket.send(encodeMessage(message));
    } catch (err) {
      this.#log.debug({ problem: messageOf(err) }, "error message not sent");
    }
  }

  #end(err?: ShimmyError): void {
    this.#cancelTimer();
    if (!this.#isEnded) {
      if (err === undefined) {
        this.#log.info("client disconnected");
      } else {
        this.#deps.metrics.cutOff.inc({ code: err.code });
        this.#log.warn({ code: err.code, problem: err.message }, "client connection failed");
      }
      this.#finish();
    }
    this.#deps.onClose(this);
  }

  /** From here on the connection has no effect (I3). */
  #finish(): void {
    this.#isEnded = true;
    this.#cancelTimer();
    this.#endpoints.watch([]);
    if (this.#agreed?.isForChannels === true) this.#deps.channels.leave(this);
    else if (this.#agreed !== undefined) this.#deps.broker.leave(this);
  }
}

type SidecarMessage = Exclude<
  ClientMessage,
  HelloMessage | ChannelsHelloMessage | ChannelClientMessage
>;

const CHANNEL_MESSAGES: ReadonlySet<string> = new Set<ChannelClientMessage["type"]>([
  "attachChannel",
  "reattachChannel",
  "lodgeRegions",
  "generationFinished",
  "linkGone",
  "detachChannel",
]);

function isChannelMessage(message: ClientMessage): message is ChannelClientMessage {
  return CHANNEL_MESSAGES.has(message.type);
}

/** How many descriptors belong to a message. */
function fdsOf(message: ClientMessage): number {
  if (message.type === "adopt") return 1;
  return message.type === "lodgeRegions" ? message.regions.length : 0;
}

function misuse(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", message);
}
