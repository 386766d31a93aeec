import { ShimmyError, type ShimmyErrorCode } from "../common/errors.ts";
import type { ReportMessage } from "./api.ts";
import { ApiServer, type ApiServerOptions } from "./api-server.ts";
import { attest } from "./attestation.ts";
import type { CatalogPod } from "./catalog.ts";
import { Client, type ClientDeps } from "./client.ts";
import type { AgentNative, MessageSocket } from "./native.ts";
import { TokenBucket, type Quotas } from "./quotas.ts";
import type { PodListeners } from "./socket-place.ts";

/** What a {@link PodSockets} works with. */
export interface PodSocketsDeps extends Omit<
  ClientDeps,
  "messages" | "onWelcome" | "onClose" | "native"
> {
  readonly native: AgentNative;
  readonly quotas: Quotas;
  /** The routes of the pod's HTTP socket. */
  readonly route: ApiServerOptions["route"];
  readonly change: NonNullable<ApiServerOptions["change"]>;
}

/** Both sockets of one pod, and who is connected to them. */
export class PodSockets {
  /** Where they are. */
  readonly listeners: PodListeners;
  readonly #pod: CatalogPod;
  readonly #deps: PodSocketsDeps;
  readonly #clients = new Set<Client>();
  readonly #messages: TokenBucket;
  readonly #requests: TokenBucket;
  #api: ApiServer | undefined;
  #fd: { close(): void } | undefined;
  /** The client that said hello last. */
  #sidecar: Client | undefined;

  private constructor(pod: CatalogPod, listeners: PodListeners, deps: PodSocketsDeps) {
    this.#pod = pod;
    this.listeners = listeners;
    this.#deps = deps;
    this.#messages = new TokenBucket(deps.quotas.messages, deps.clock);
    this.#requests = new TokenBucket(deps.quotas.httpRequests, deps.clock);
  }

  /**
   * Begins to serve both sockets. `listeners` are closed with them, also when this fails.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` or `SHIMMY_ERR_SYSTEM` when that cannot
   * be done; nothing is left behind then.
   */
  static async open(
    pod: CatalogPod,
    listeners: PodListeners,
    deps: PodSocketsDeps,
  ): Promise<PodSockets> {
    const sockets = new PodSockets(pod, listeners, deps);
    try {
      await sockets.#listen();
    } catch (err) {
      await sockets.close();
      throw err;
    }
    return sockets;
  }

  /** What the pod's sidecar reported last, while it is connected. */
  get report(): ReportMessage | undefined {
    return this.#sidecar?.report;
  }

  /** Follows a change of the catalog. */
  catalogChanged(): void {
    for (const client of [...this.#clients]) client.catalogChanged();
  }

  /** Disconnects everybody and removes the sockets. Safe to call twice. */
  async close(): Promise<void> {
    for (const client of [...this.#clients]) client.close();
    this.#clients.clear();
    this.#fd?.close();
    this.#fd = undefined;
    await this.#api?.close();
    this.#api = undefined;
    await this.listeners.close();
  }

  async #listen(): Promise<void> {
    const { native, quotas, route, change, metrics, log } = this.#deps;
    this.#api = await ApiServer.listen({
      on: this.listeners.api,
      admit: (peer) => attest(this.#deps.catalog().pods.get(this.#pod.uid) ?? this.#pod, peer),
      takeRequest: () => this.#requests.take(),
      route,
      change,
      maxConnections: quotas.connectionsPerSocket,
      native,
      metrics,
      log,
    });
    this.#fd = native.listen(this.listeners.fd, (socket) => {
      this.#accept(socket);
    });
  }

  #accept(socket: MessageSocket): void {
    // A connection counts as a message: to open and close without end is a flood as well.
    const isFull = this.#clients.size >= this.#deps.quotas.connectionsPerSocket;
    if (isFull || !this.#messages.take()) {
      const code: ShimmyErrorCode = isFull ? "SHIMMY_ERR_LIMIT" : "SHIMMY_ERR_RATE_LIMITED";
      this.#deps.metrics.cutOff.inc({ code });
      this.#deps.log.debug({ pod: this.#pod.uid, code }, "connection not taken");
      socket.close();
      return;
    }
    const client: Client = new Client(this.#pod.uid, socket, {
      ...this.#deps,
      messages: this.#messages,
      onWelcome: () => {
        this.#welcome(client);
      },
      onClose: () => {
        this.#clients.delete(client);
        if (this.#sidecar === client) this.#sidecar = undefined;
      },
    });
    this.#clients.add(client);
    client.start();
  }

  /** The newest is the sidecar: one that was restarted may be here before its end is noticed. */
  #welcome(client: Client): void {
    const before = this.#sidecar;
    this.#sidecar = client;
    before?.cutOff(
      new ShimmyError("SHIMMY_ERR_SUPERSEDED", "another process said hello as this pod"),
    );
  }
}
