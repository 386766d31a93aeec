import { chmod } from "node:fs/promises";
import { join } from "node:path";

import { messageOf, ShimmyError, type ShimmyErrorCode } from "../common/errors.ts";
import { API_SOCKET, FD_SOCKET, type ReportMessage } from "./api.ts";
import { ApiServer, type ApiServerOptions } from "./api-server.ts";
import { attest } from "./attestation.ts";
import type { CatalogPod } from "./catalog.ts";
import { Client, type ClientDeps } from "./client.ts";
import type { AgentNative, MessageSocket } from "./native.ts";
import { TokenBucket, type Quotas } from "./quotas.ts";
import { preparePodDirectory, removePodDirectory, socketMode } from "./runtime-dir.ts";

/** What a {@link PodSockets} works with. */
export interface PodSocketsDeps extends Omit<
  ClientDeps,
  "messages" | "onWelcome" | "onClose" | "native"
> {
  readonly native: AgentNative;
  readonly runtimeDir: string;
  readonly quotas: Quotas;
  /** The routes of the pod's HTTP socket. */
  readonly route: ApiServerOptions["route"];
}

/** Both sockets of one pod, and who is connected to them. */
export class PodSockets {
  readonly #pod: CatalogPod;
  readonly #deps: PodSocketsDeps;
  readonly #clients = new Set<Client>();
  readonly #messages: TokenBucket;
  readonly #requests: TokenBucket;
  #api: ApiServer | undefined;
  #fd: { close(): void } | undefined;
  /** The client that said hello last. */
  #sidecar: Client | undefined;
  #isShared: boolean;

  private constructor(pod: CatalogPod, deps: PodSocketsDeps) {
    this.#pod = pod;
    this.#deps = deps;
    this.#isShared = isShared(pod);
    this.#messages = new TokenBucket(deps.quotas.messages, deps.clock);
    this.#requests = new TokenBucket(deps.quotas.httpRequests, deps.clock);
  }

  /**
   * Makes the pod's directory and opens both sockets in it.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_RUNTIME_DIR`, `SHIMMY_ERR_ADDRESS_IN_USE` or
   * `SHIMMY_ERR_SYSTEM` when that cannot be done; nothing is left behind then.
   */
  static async open(pod: CatalogPod, deps: PodSocketsDeps): Promise<PodSockets> {
    const sockets = new PodSockets(pod, deps);
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
  async catalogChanged(pod: CatalogPod): Promise<void> {
    const shared = isShared(pod);
    if (shared !== this.#isShared) {
      this.#isShared = shared;
      const directory = await preparePodDirectory(this.#deps.runtimeDir, pod, shared);
      for (const name of [API_SOCKET, FD_SOCKET]) {
        await chmod(join(directory, name), socketMode(shared));
      }
    }
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
    await removePodDirectory(this.#deps.runtimeDir, this.#pod);
  }

  async #listen(): Promise<void> {
    const { native, runtimeDir, quotas, route, metrics, log } = this.#deps;
    const directory = await preparePodDirectory(runtimeDir, this.#pod, this.#isShared);
    const mode = socketMode(this.#isShared);
    this.#api = await ApiServer.listen({
      path: join(directory, API_SOCKET),
      mode,
      admit: (peer) => attest(this.#deps.catalog().pods.get(this.#pod.uid) ?? this.#pod, peer),
      takeRequest: () => this.#requests.take(),
      route,
      maxConnections: quotas.connectionsPerSocket,
      native,
      metrics,
      log,
    });
    this.#fd = native.listen({
      path: join(directory, FD_SOCKET),
      mode,
      onConnection: (socket) => {
        this.#accept(socket);
      },
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

/** Whether users other than the agent's own and root may be a pod. */
function isShared({ identity }: CatalogPod): boolean {
  if (identity.kind === "pod") return true;
  return [...identity.runAs].some((uid) => uid !== 0 && uid !== process.geteuid?.());
}

/** The sockets of all pods of the node, as the catalog lists them. */
export class PodSocketSet {
  readonly #open: (pod: CatalogPod) => Promise<PodSockets>;
  readonly #deps: Pick<PodSocketsDeps, "log" | "catalog">;
  readonly #sockets = new Map<string, PodSockets>();
  readonly #failures = new Map<string, string>();
  #work: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(
    deps: Pick<PodSocketsDeps, "log" | "catalog">,
    open: (pod: CatalogPod) => Promise<PodSockets>,
  ) {
    this.#deps = deps;
    this.#open = open;
  }

  /** Pods whose sockets could not be opened, and why; tried again at the next change. */
  get failures(): { pod: string; error: string }[] {
    return [...this.#failures].map(([pod, error]) => ({ pod, error }));
  }

  /** What the sidecar of a pod reported last, while it is connected. */
  reportOf(pod: string): ReportMessage | undefined {
    return this.#sockets.get(pod)?.report;
  }

  /** Opens and closes sockets until they are those of the present catalog. One at a time. */
  reconcile(): Promise<void> {
    this.#work = this.#work.then(() => this.#reconcile());
    return this.#work;
  }

  /** Closes all of them, for good. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#work;
    await Promise.all([...this.#sockets.values()].map((sockets) => sockets.close()));
    this.#sockets.clear();
  }

  async #reconcile(): Promise<void> {
    if (this.#isClosed) return;
    const { node, pods } = this.#deps.catalog();
    const wanted = [...pods.values()].filter((pod) => pod.node === node && pod.injected);
    const wantedIds = new Set(wanted.map(({ uid }) => uid));
    this.#failures.clear();
    for (const [uid, sockets] of this.#sockets) {
      if (wantedIds.has(uid)) continue;
      this.#sockets.delete(uid);
      await sockets.close();
    }
    for (const pod of wanted) await this.#ensure(pod);
  }

  async #ensure(pod: CatalogPod): Promise<void> {
    try {
      const sockets = this.#sockets.get(pod.uid);
      if (sockets === undefined) this.#sockets.set(pod.uid, await this.#open(pod));
      else await sockets.catalogChanged(pod);
    } catch (err) {
      this.#failures.set(pod.uid, messageOf(err));
      this.#deps.log.error({ err, pod: pod.uid }, "no sockets for a pod");
    }
  }
}
