import type { PodIdentity, WelcomeMessage } from "../agent/api.ts";
import type { Clock } from "../common/clock.ts";
import { messageOf } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import type { RelayDrainResult, RelayEvents, RelayOptions } from "../shm-core/lib/relay.ts";
import { AgentClient } from "./agent-client.ts";
import type { SidecarConfig } from "./env.ts";
import type { AgentSocket, SidecarNative, SidecarRelay } from "./native.ts";
import { Reporter } from "./report.ts";
import { SessionKeeper } from "./session-keeper.ts";
import { createTopicCounters, type TopicCounters } from "./topics/counters.ts";
import { UnknownUpstreams } from "./unknown-upstreams.ts";
import { UpstreamSet } from "./upstream-set.ts";

/** What a {@link Sidecar} works with. */
export interface SidecarDeps {
  readonly native: SidecarNative;
  readonly clock: Clock;
  readonly log: Logger;
  /** Connects to the agent. */
  readonly connect: () => Promise<AgentSocket>;
  /** @returns Numeric addresses of a host name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
}

/** How long a sidecar waits for its agent, and for what that says of upstreams, before it is ready without. */
const AGENT_WAIT_MS = 2000;

/**
 * A pod's sidecar but for its admin address and its signals: relay, upstreams, sessions and agent,
 * connected to each other.
 */
export class Sidecar {
  readonly config: SidecarConfig;
  readonly relay: SidecarRelay;
  readonly upstreams: UpstreamSet;
  readonly sessions: SessionKeeper;
  readonly agent: AgentClient;
  /** What topics over HTTP did. */
  readonly topicCounters: TopicCounters = createTopicCounters();
  readonly #deps: SidecarDeps;
  readonly #unknown: UnknownUpstreams;
  readonly #startedAt: number;
  readonly #cancelWait: () => void;
  #identity: PodIdentity | undefined;
  #hasWaited = false;
  #isDraining = false;

  /**
   * Starts the relay, binds the upstreams and begins to look for the agent.
   *
   * @throws {@link ShimmyError} of {@link UpstreamSet.bind}; nothing is left running then.
   */
  constructor(config: SidecarConfig, deps: SidecarDeps) {
    const { native, clock, log } = deps;
    this.config = config;
    this.#deps = deps;
    this.#startedAt = clock.now();
    this.relay = native.startRelay(relayOptions(config), this.#relayEvents());
    this.sessions = new SessionKeeper({ relay: this.relay, native, clock, log });
    this.upstreams = this.#bind();
    this.#deliver(config.appPorts, config.appAddress);
    this.#unknown = new UnknownUpstreams({
      upstreams: this.upstreams,
      isDnsUsed: config.dnsFallback,
      resolve: deps.resolve,
      clock,
    });
    this.#cancelWait = clock.after(AGENT_WAIT_MS, () => {
      this.#hasWaited = true;
      if (!this.agent.status.connected) this.#unknown.start();
    });
    this.agent = this.#startAgent();
  }

  /** Who the agent says we are; `undefined` before it did. */
  get identity(): PodIdentity | undefined {
    return this.#identity;
  }

  /** Time since the start. */
  get uptimeMs(): number {
    return this.#deps.clock.now() - this.#startedAt;
  }

  /** Whether it is on its way out. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Why it is not ready; `undefined` when it is. */
  get notReadyReason(): string | undefined {
    if (this.#isDraining) return "draining";
    if (this.#hasWaited) return undefined;
    if (this.#identity === undefined) return "waiting for the agent";
    // An application that is let start now would have its first connections refused.
    return this.upstreams.unknown().length > 0 ? "waiting for endpoints" : undefined;
  }

  /**
   * Is not ready any more, stops accepting and lets connections end, for as long as configured.
   *
   * @returns How many ended by themselves, and how many were cut.
   */
  async drain(): Promise<RelayDrainResult> {
    this.#isDraining = true;
    this.#unknown.stop();
    return await this.relay.drain(this.config.drainTimeoutMs);
  }

  /** Ends everything at once: peers and applications see resets. Safe to call twice. */
  stop(): void {
    this.#isDraining = true;
    this.#cancelWait();
    this.#unknown.stop();
    this.agent.stop();
    this.sessions.stop();
    this.relay.stop();
  }

  #bind(): UpstreamSet {
    const { relay, config } = this;
    try {
      return UpstreamSet.bind({
        upstreams: config.upstreams,
        addresses: config.listenAddresses,
        cap: config.transport,
        relay,
        log: this.#deps.log,
      });
    } catch (err) {
      relay.stop();
      throw err;
    }
  }

  #startAgent(): AgentClient {
    const { connect, clock, log } = this.#deps;
    const { config, relay, sessions, upstreams } = this;
    const reporter = new Reporter({ relay, sessions });
    const agent = new AgentClient({
      connect,
      pod: config.pod,
      newestVersion: config.protocolVersion,
      services: upstreams.services,
      sessions,
      report: () => reporter.report(),
      onWelcome: (message) => {
        this.#welcomed(message);
      },
      onEndpoints: (services) => {
        upstreams.setEndpoints(services);
      },
      clock,
      log,
    });
    agent.start();
    return agent;
  }

  #welcomed({ pod, appPorts, appAddress }: WelcomeMessage): void {
    this.#identity = pod;
    this.#unknown.stop();
    const { config } = this;
    this.#deliver(config.appPorts ?? appPorts, config.appAddress ?? appAddress);
  }

  /** Peers reach the application at these ports; before both are known, at none. */
  #deliver(ports: readonly number[] | undefined, address: string | undefined): void {
    if (ports === undefined || address === undefined) return;
    try {
      this.relay.setDelivery(ports.map((port) => ({ port, address })));
    } catch (err) {
      this.#deps.log.error({ ports, address, problem: messageOf(err) }, "delivery refused");
    }
  }

  /** Events come after the constructor only: the relay never calls back from within a call. */
  #relayEvents(): RelayEvents {
    return {
      onSessionNeeded: (pod) => {
        this.sessions.need(pod);
      },
      onSessionReady: (id) => {
        this.sessions.ready(id);
      },
      onSessionEnded: (id, reason) => {
        this.sessions.ended(id, reason);
      },
    };
  }
}

function relayOptions(config: SidecarConfig): RelayOptions {
  return {
    threads: config.relayThreads,
    spinMicros: config.spinMicros,
    ringBudgetBytes: config.ringBudgetBytes,
    maxRingBytes: config.maxRingBytes,
    maxConnections: config.maxConnections,
    maxStreamsPerPeer: config.maxStreamsPerPeer,
    openTimeoutMs: config.openTimeoutMs,
    connectTimeoutMs: config.connectTimeoutMs,
    idleTimeoutMs: config.idleTimeoutMs,
  };
}
