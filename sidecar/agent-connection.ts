import { messageOf, ShimmyError, toShimmyError } from "../common/errors.ts";
import type { Clock } from "../common/clock.ts";
import type { Logger } from "../common/log.ts";
import {
  encodeMessage,
  EndpointsCollector,
  HELLO_TIMEOUT_MS,
  MIN_PROTOCOL_VERSION,
  parseAgentMessage,
  PROTOCOL_VERSION,
  type AgentMessage,
  type ClientMessage,
  type GrantsMessage,
  type PodName,
  type RevokeMessage,
  type ServiceEndpoints,
  type SessionMessage,
  type SessionRefusedMessage,
  type WelcomeMessage,
} from "../agent/api.ts";
import type { AgentSocket, Fd } from "./native.ts";

/** What the agent says, checked; called in the order received. */
export interface AgentEvents {
  /** The first one makes the connection usable; later ones say what changed. */
  onWelcome(message: WelcomeMessage): void;
  /** Services whose endpoints are complete. */
  onEndpoints(services: readonly ServiceEndpoints[]): void;
  /** Owns `fd`. */
  onSession(message: SessionMessage, fd: Fd | undefined): void;
  onSessionRefused(message: SessionRefusedMessage): void;
  onGrants(message: GrantsMessage): void;
  onRevoke(message: RevokeMessage): void;
  onSessionClosed(session: string): void;
  /** Called once, at the end of the connection, with the reason if there was a fault. */
  onEnd(error: ShimmyError | undefined): void;
}

/** What an {@link AgentConnection} works with. */
export interface AgentConnectionDeps {
  /** The pod we are; the agent must agree. */
  readonly pod: PodName;
  /** Newest version to speak, if that is not the newest there is. */
  readonly newestVersion?: number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: AgentEvents;
}

/**
 * One connection to the agent, from `hello` to its end.
 *
 *   I1  no message has an effect before a `welcome` for our pod, in a version we speak
 *   I2  every descriptor received is handed on or closed
 *   I3  after the end nothing is sent and nothing has an effect
 */
export class AgentConnection {
  readonly #socket: AgentSocket;
  readonly #deps: AgentConnectionDeps;
  readonly #newestVersion: number;
  readonly #endpoints = new EndpointsCollector();
  #cancelTimer: () => void = () => undefined;
  #welcome: WelcomeMessage | undefined;
  #isEnded = false;

  constructor(socket: AgentSocket, deps: AgentConnectionDeps) {
    this.#socket = socket;
    this.#deps = deps;
    this.#newestVersion = Math.min(deps.newestVersion ?? PROTOCOL_VERSION, PROTOCOL_VERSION);
  }

  /** Says hello, and begins to listen. */
  start(): void {
    this.#cancelTimer = this.#deps.clock.after(HELLO_TIMEOUT_MS, () => {
      this.#end(new ShimmyError("SHIMMY_ERR_TIMEOUT", `no welcome in ${HELLO_TIMEOUT_MS} ms`));
    });
    this.#socket.start({
      onMessage: (data, fds) => {
        this.#receive(data, fds);
      },
      onClose: (err) => {
        this.#end(err);
      },
    });
    const { namespace, name } = this.#deps.pod;
    this.send({
      type: "hello",
      version: this.#newestVersion,
      pod: { namespace, name },
      pid: process.pid,
      capabilities: { fdPassing: true },
    });
  }

  /** The agent's latest `welcome`; absent before the first one. */
  get welcome(): WelcomeMessage | undefined {
    return this.#welcome;
  }

  /**
   * Sends a message. `fds` stay the caller's.
   *
   * @returns `false` when it could not be sent: the connection is over, or the kernel refused.
   */
  send(message: ClientMessage, fds: readonly Fd[] = []): boolean {
    if (this.#isEnded) return false;
    try {
      // A message that has to wait is sent later, or the socket ends and says so.
      this.#socket.send(
        encodeMessage(message),
        fds.map(({ number }) => number),
      );
      return true;
    } catch (err) {
      this.#deps.log.warn({ type: message.type, problem: messageOf(err) }, "message not sent");
      return false;
    }
  }

  /** Ends the connection without calling anybody back. Safe to call twice. */
  close(): void {
    this.#isEnded = true;
    this.#cancelTimer();
    this.#socket.close();
  }

  #receive(data: Buffer, fds: readonly Fd[]): void {
    const left = [...fds];
    try {
      if (!this.#isEnded) this.#accept(parseAgentMessage(data), left);
    } catch (err) {
      const error = toShimmyError(err);
      if (error.code === "SHIMMY_ERR_INTERNAL") this.#deps.log.error({ err }, "message failed");
      this.#end(error);
    } finally {
      for (const fd of left) fd.close();
    }
  }

  /** Takes from `fds` what it hands on. */
  #accept(message: AgentMessage, fds: Fd[]): void {
    if (fds.length > (message.type === "session" ? 1 : 0)) {
      throw misuse(`${message.type} message with ${fds.length} descriptors`);
    }
    if (message.type === "error") throw new ShimmyError(message.code, message.message);
    if (message.type === "welcome") {
      this.#accepted(message);
      return;
    }
    if (this.#welcome === undefined) throw misuse(`${message.type} message before welcome`);
    this.#dispatch(message, fds);
  }

  #dispatch(message: Exclude<AgentMessage, { type: "error" | "welcome" }>, fds: Fd[]): void {
    const { events } = this.#deps;
    switch (message.type) {
      case "endpoints":
        events.onEndpoints(this.#endpoints.add(message));
        break;
      case "session":
        if (message.peer.uid === this.#welcome?.pod.uid) throw misuse("session with our own pod");
        events.onSession(message, fds.pop());
        break;
      case "sessionRefused":
        events.onSessionRefused(message);
        break;
      case "grants":
        events.onGrants(message);
        break;
      case "revoke":
        events.onRevoke(message);
        break;
      case "sessionClosed":
        events.onSessionClosed(message.session);
    }
  }

  #accepted(message: WelcomeMessage): void {
    const { pod, version } = message;
    if (version < MIN_PROTOCOL_VERSION || version > this.#newestVersion) {
      throw new ShimmyError(
        "SHIMMY_ERR_VERSION_MISMATCH",
        `the agent speaks version ${version} of the protocol, ` +
          `this sidecar ${MIN_PROTOCOL_VERSION} to ${this.#newestVersion}`,
      );
    }
    const { namespace, name } = this.#deps.pod;
    if (pod.namespace !== namespace || pod.name !== name) {
      throw new ShimmyError(
        "SHIMMY_ERR_NOT_ATTESTED",
        `the agent takes us for pod ${pod.namespace}/${pod.name}, we are ${namespace}/${name}`,
      );
    }
    this.#cancelTimer();
    this.#welcome = message;
    this.#deps.events.onWelcome(message);
  }

  #end(error: ShimmyError | undefined): void {
    if (this.#isEnded) return;
    this.close();
    this.#deps.events.onEnd(error);
  }
}

function misuse(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", message);
}
