import { messageOf, ShimmyError, toShimmyError } from "../common/errors.ts";
import { Backoff } from "../common/backoff.ts";
import type { Clock } from "../common/clock.ts";
import type { Logger } from "../common/log.ts";
import {
  REPORT_INTERVAL_MS,
  type PodName,
  type ReportMessage,
  type ServiceEndpoints,
  type WelcomeMessage,
} from "../agent/api.ts";
import { AgentConnection } from "./agent-connection.ts";
import type { AgentSocket } from "./native.ts";
import type { SessionKeeper } from "./session-keeper.ts";

/** Options for {@link AgentClient}. */
export interface AgentClientOptions {
  /** Makes a connection to the agent that is known to be the agent's. */
  readonly connect: () => Promise<AgentSocket>;
  readonly pod: PodName;
  /** See {@link AgentConnectionDeps.newestVersion}. */
  readonly newestVersion?: number | undefined;
  /** Services whose endpoints are wanted. */
  readonly services: readonly string[];
  readonly sessions: SessionKeeper;
  readonly report: () => ReportMessage;
  /** The agent has said who we are; again when that changes. */
  readonly onWelcome: (message: WelcomeMessage) => void;
  readonly onEndpoints: (services: readonly ServiceEndpoints[]) => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** Source of jitter. @defaultValue Math.random */
  readonly random?: () => number;
}

/** The connection to the agent as people see it. */
export interface AgentStatus {
  readonly connected: boolean;
  /** How often the agent has said welcome on a new connection. */
  readonly connects: number;
  /** Why there is no connection. */
  readonly error?: string;
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5000;
/** A connection that ends sooner is a failed attempt: two sidecars of one pod would chase each other. */
const STABLE_MS = 5000;

/**
 * Keeps a connection to the agent, for ever: what it says is passed on, what it asks is answered.
 * Without an agent everything known stays in force.
 */
export class AgentClient {
  readonly #options: AgentClientOptions;
  readonly #backoff: Backoff;
  #connection: AgentConnection | undefined;
  #welcomedAt: number | undefined;
  #cancelRetry: () => void = () => undefined;
  #cancelReports: () => void = () => undefined;
  #connects = 0;
  #error: ShimmyError | undefined;
  #isStopped = false;

  constructor(options: AgentClientOptions) {
    this.#options = options;
    this.#backoff = new Backoff({
      initialMs: FIRST_RETRY_MS,
      maxMs: LONGEST_RETRY_MS,
      ...(options.random === undefined ? {} : { random: options.random }),
    });
  }

  /** Begins to connect. */
  start(): void {
    void this.#connect();
  }

  /** How it stands with the agent. */
  get status(): AgentStatus {
    return {
      connected: this.#welcomedAt !== undefined,
      connects: this.#connects,
      ...(this.#error === undefined ? {} : { error: this.#error.message }),
    };
  }

  /** Closes the connection for good. Safe to call twice. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelRetry();
    this.#cancelReports();
    this.#connection?.close();
    this.#connection = undefined;
    this.#welcomedAt = undefined;
  }

  async #connect(): Promise<void> {
    try {
      const socket = await this.#options.connect();
      if (this.#isStopped) socket.close();
      else this.#open(socket);
    } catch (err) {
      if (!this.#isStopped) this.#lost(toShimmyError(err, "SHIMMY_ERR_AGENT_UNAVAILABLE"));
    }
  }

  #open(socket: AgentSocket): void {
    const { pod, newestVersion, clock, log, sessions, onEndpoints } = this.#options;
    const connection = new AgentConnection(socket, {
      pod,
      newestVersion,
      clock,
      log,
      events: {
        onWelcome: (message) => {
          this.#welcomed(connection, message);
        },
        onEndpoints,
        onSession: (message, fd) => {
          sessions.opened(message, fd);
        },
        onSessionRefused: (message) => {
          sessions.refused(message);
        },
        onGrants: (message) => {
          sessions.granted(message);
        },
        onRevoke: (message) => {
          sessions.revoked(message);
        },
        onSessionClosed: (session) => {
          sessions.closed(session);
        },
        onEnd: (error) => {
          this.#lost(error);
        },
      },
    });
    this.#connection = connection;
    connection.start();
  }

  #welcomed(connection: AgentConnection, message: WelcomeMessage): void {
    const { sessions, services, report, clock, log, onWelcome } = this.#options;
    if (this.#welcomedAt === undefined) {
      this.#welcomedAt = clock.now();
      this.#connects += 1;
      this.#error = undefined;
      log.info({ pod: message.pod.uid, version: message.version }, "agent connected");
      sessions.attach(connection);
      connection.send({ type: "watch", services });
      this.#cancelReports = clock.every(REPORT_INTERVAL_MS, () => {
        connection.send(report());
      });
    }
    onWelcome(message);
  }

  #lost(error: ShimmyError | undefined): void {
    const { clock, sessions } = this.#options;
    const wasStable = this.#welcomedAt !== undefined && clock.now() - this.#welcomedAt >= STABLE_MS;
    this.#connection = undefined;
    this.#welcomedAt = undefined;
    this.#cancelReports();
    sessions.detach();
    if (wasStable) this.#backoff.reset();
    this.#logLoss(error ?? new ShimmyError("SHIMMY_ERR_CLOSED", "the agent closed the connection"));
    this.#cancelRetry = clock.after(this.#backoff.next(), () => void this.#connect());
  }

  /** The same trouble is told once, not at every attempt. */
  #logLoss(error: ShimmyError): void {
    const isNew = this.#error?.message !== error.message;
    this.#error = error;
    const fields = { code: error.code, problem: messageOf(error), attempt: this.#backoff.attempt };
    if (isNew) this.#options.log.warn(fields, "no agent, trying again");
    else this.#options.log.debug(fields, "still no agent");
  }
}
