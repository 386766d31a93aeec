/**
 * Shimmy in local mode, as real processes: an agent and sidecars, each of which can be killed,
 * stopped and started again.
 *
 * A mesh has addresses of its own in 127.0.0.0/8, so that several of them do not meet. A sidecar
 * serves its upstreams on the address of its pod, so that every client pod can have port 9001.
 */
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";

import { ADMIN_SOCKET, FD_SOCKET, podDirectory } from "../../agent/api.ts";
import type {
  CatalogFile,
  CatalogFilePod,
  CatalogFileService,
} from "../../agent/catalog-schema.ts";
import { getText } from "../../cli/http.ts";
import type { ManagedProcess } from "../../cli/local/managed-process.ts";
import { Workspace } from "../../cli/local/workspace.ts";
import { parsePrometheus, sumSamples, type Sample } from "../../cli/prometheus.ts";
import { eventually } from "./eventually.ts";
import { snapshotProcess, type ProcessSnapshot } from "./process-snapshot.ts";
import { SLOW_SIDECAR } from "./slowness.ts";

const COMMAND = join(import.meta.dirname, "../../cli/bin.js");
const NAMESPACE = "default";
const ADMIN_PORT = 14_790;
const LOG_LINES = 60;

/** One pod of a {@link LocalMesh}. */
export interface TestPod extends Omit<CatalogFilePod, "address" | "name"> {
  /** What its sidecar's application calls, as SHIMMY_UPSTREAMS has it. */
  readonly upstreams?: string;
  /** Further settings of its sidecar. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether it has a sidecar. @defaultValue true */
  readonly sidecar?: boolean;
}

/** Options for {@link LocalMesh.start}. */
export interface LocalMeshOptions {
  readonly pods: Readonly<Record<string, TestPod>>;
  readonly services: readonly CatalogFileService[];
  readonly connections?: CatalogFile["connections"];
  readonly deny?: CatalogFile["deny"];
  /** Settings of every sidecar. */
  readonly env?: Readonly<Record<string, string>>;
  readonly agentEnv?: Readonly<Record<string, string>>;
  /** Put before the command of every sidecar: `prlimit --nofile=64`. */
  readonly sidecarPrefix?: readonly string[];
}

/** One scrape of a sidecar's metrics. */
export class Metrics {
  readonly samples: readonly Sample[];

  constructor(text: string) {
    this.samples = parsePrometheus(text);
  }

  /** Adds up the samples of a metric that have these labels. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return sumSamples(this.samples, name, labels);
  }
}

/** What the application's connections of a sidecar became, since the last look. */
export interface Carried {
  readonly accepted: number;
  readonly shm: number;
  readonly tcp: number;
  readonly failed: number;
  /** By reason; only those that happened. */
  readonly fallbacks: Readonly<Record<string, number>>;
}

let addressesUsed = 0;

/** An address of this machine that no other test process uses. */
export function uniqueAddress(): string {
  const high = 128 | ((process.pid >> 8) & 127);
  return `127.${high}.${process.pid & 255}.${1 + (addressesUsed++ % 254)}`;
}

/** An agent and sidecars that run until {@link LocalMesh.close}. */
export class LocalMesh {
  readonly workspace = new Workspace();
  /** Where the apps of each pod listen. */
  readonly addresses: ReadonlyMap<string, string>;
  #options: LocalMeshOptions;
  readonly #processes = new Map<string, ManagedProcess>();
  readonly #logs: string[] = [];
  readonly #baselines = new Map<string, Metrics>();

  private constructor(options: LocalMeshOptions) {
    this.#options = options;
    this.addresses = new Map(Object.keys(options.pods).map((pod) => [pod, uniqueAddress()]));
  }

  /**
   * Starts the agent, then all sidecars.
   *
   * @returns When every sidecar is ready.
   */
  static async start(options: LocalMeshOptions): Promise<LocalMesh> {
    const mesh = new LocalMesh(options);
    try {
      mesh.writeCatalog();
      await mesh.startAgent();
      const pods = Object.entries(options.pods).filter(([, { sidecar }]) => sidecar !== false);
      await Promise.all(pods.map(([pod]) => mesh.startSidecar(pod)));
      return mesh;
    } catch (err) {
      await mesh.close();
      throw new Error(`the mesh does not start\n${mesh.logs}`, { cause: err });
    }
  }

  /** What agent and sidecars have logged last. */
  get logs(): string {
    return this.#logs.join("\n");
  }

  /** Address of a pod. */
  address(pod: string): string {
    const address = this.addresses.get(pod);
    if (address === undefined) throw new Error(`no pod ${pod}`);
    return address;
  }

  /** The agent (`agent`) or the sidecar of a pod, running or not. */
  process(name: string): ManagedProcess {
    const process = this.#processes.get(name);
    if (process === undefined) throw new Error(`${name} was not started`);
    return process;
  }

  /** Process id of the agent (`agent`) or the sidecar of a pod. */
  pid(name: string): number {
    const { pid } = this.process(name);
    if (pid === undefined) throw new Error(`${name} could not be started`);
    return pid;
  }

  /** Starts the agent; also again, after it has ended. */
  async startAgent(): Promise<void> {
    const agent = this.#start("agent", [process.execPath, COMMAND, "agent"], {
      SHIMMY_CATALOG: this.workspace.path("catalog.yaml"),
      SHIMMY_RUNTIME_DIR: this.workspace.path("run"),
      ...this.#options.agentEnv,
    });
    await this.#awaitReady("agent", agent, async () => {
      const sockets = Object.keys(this.#options.pods).map((pod) => this.#socket(pod));
      if (!sockets.every((path) => existsSync(path))) return false;
      return (await this.getFromAgent("/v1/health")) !== undefined;
    });
  }

  /** Starts the sidecar of a pod; also again, after it has ended. Its counters begin at 0. */
  async startSidecar(pod: string, { awaitReady = true } = {}): Promise<void> {
    const { upstreams = "", env = {}, namespace = NAMESPACE } = this.#options.pods[pod] ?? {};
    const address = this.address(pod);
    this.#baselines.delete(pod);
    const argv = [...(this.#options.sidecarPrefix ?? []), process.execPath, COMMAND, "sidecar"];
    const sidecar = this.#start(pod, argv, {
      SHIMMY_POD: `${namespace}/${pod}`,
      SHIMMY_AGENT_DIR: podDirectory(this.workspace.path("run"), { namespace, name: pod }),
      SHIMMY_ADMIN_ADDRESS: `${address}:${ADMIN_PORT}`,
      SHIMMY_LISTEN_ADDRESSES: address,
      SHIMMY_DRAIN_TIMEOUT: "0",
      ...(upstreams === "" ? {} : { SHIMMY_UPSTREAMS: upstreams }),
      ...SLOW_SIDECAR,
      ...this.#options.env,
      ...env,
    });
    if (!awaitReady) return;
    await this.#awaitReady(
      pod,
      sidecar,
      async () => (await this.get(pod, "/readyz")) !== undefined,
    );
  }

  /** Kills the agent (`agent`) or the sidecar of a pod, and waits until it is gone. */
  async kill(name: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.process(name).signal(signal);
    await this.process(name).ended;
  }

  /** A page of a sidecar's admin address; `undefined` when there is no answer or an error. */
  get(pod: string, path: string): Promise<string | undefined> {
    return getText({ url: `http://${this.address(pod)}:${ADMIN_PORT}${path}` });
  }

  /** A page of the agent's node-wide socket; `undefined` when there is no answer or an error. */
  getFromAgent(path: string): Promise<string | undefined> {
    return getText({ socketPath: this.workspace.path("run", ADMIN_SOCKET), path });
  }

  /** All metrics of a sidecar. */
  async metrics(pod: string): Promise<Metrics> {
    const text = await this.get(pod, "/metrics");
    if (text === undefined) throw new Error(`the sidecar of ${pod} does not answer\n${this.logs}`);
    return new Metrics(text);
  }

  /** What happened to the connections of a pod's application since the last call for this pod. */
  async carried(pod: string): Promise<Carried> {
    const now = await this.metrics(pod);
    const before = this.#baselines.get(pod) ?? new Metrics("");
    this.#baselines.set(pod, now);
    const since = (name: string, labels: Record<string, string> = {}): number =>
      now.sum(name, labels) - before.sum(name, labels);
    const direction = "outbound";
    const reasons = now.samples
      .filter(({ name }) => name === "shimmy_fallbacks_total")
      .map(({ labels }) => labels["reason"] ?? "")
      .map((reason) => [reason, since("shimmy_fallbacks_total", { reason })] as const);
    return {
      accepted: since("shimmy_accepted_connections_total"),
      shm: since("shimmy_connections_total", { direction, transport: "shm" }),
      tcp: since("shimmy_connections_total", { direction, transport: "tcp" }),
      failed: since("shimmy_refused_connections_total", { direction }),
      fallbacks: Object.fromEntries(reasons.filter(([, count]) => count > 0)),
    };
  }

  /**
   * Asserts, from Shimmy's own counters, that all of a pod's connections since the last look went
   * through shared memory, and how many they were.
   *
   * @param atLeast - When the program under test decides how many connections it opens.
   */
  async assertCarried(pod: string, atLeast: number, atMost = atLeast): Promise<void> {
    const seen = await this.carried(pod);
    const isCarried = seen.tcp === 0 && seen.failed === 0 && seen.shm === seen.accepted;
    if (isCarried && seen.shm >= atLeast && seen.shm <= atMost) return;
    const wanted = `${atLeast} to ${atMost} connections, all through shared memory`;
    throw new Error(`wanted ${wanted}; saw ${JSON.stringify(seen)}\n${this.logs}`);
  }

  /** Waits until no sidecar has an open connection; they must not outlive their applications. */
  async awaitQuiet(timeoutMs = 15_000): Promise<void> {
    for (const pod of this.#livePods()) {
      await eventually(
        `the connections of ${pod} to end`,
        async () => (await this.metrics(pod)).sum("shimmy_open_connections") === 0,
        timeoutMs,
      );
    }
  }

  /** What agent and sidecars hold, by name. */
  snapshot(): ReadonlyMap<string, ProcessSnapshot> {
    const names = [...this.#processes.keys()].filter((name) => this.#isAlive(name));
    return new Map(names.map((name) => [name, snapshotProcess(this.pid(name))]));
  }

  /** Changes what the catalog is made of, and writes it; `{}` takes nothing away. */
  writeCatalog(changes: Partial<LocalMeshOptions> = {}): void {
    this.#options = { ...this.#options, ...changes };
    const { pods, services, connections, deny } = this.#options;
    const file = {
      node: "test",
      pods: Object.entries(pods).map(([name, pod]) => this.#catalogPod(name, pod)),
      services,
      connections,
      deny,
    };
    const path = this.workspace.path("catalog.yaml");
    writeFileSync(`${path}.new`, stringify(file)); // what is undefined is left out
    renameSync(`${path}.new`, path);
  }

  /** Ends everything and removes all files. Safe to call twice. */
  async close(): Promise<void> {
    for (const process of this.#processes.values()) process.signal("SIGCONT");
    await this.workspace.close();
  }

  #catalogPod(name: string, { namespace, uid, runAs, injected, ports, node }: TestPod): object {
    return { name, address: this.address(name), namespace, uid, runAs, injected, ports, node };
  }

  #livePods(): string[] {
    return [...this.#processes.keys()].filter((name) => name !== "agent" && this.#isAlive(name));
  }

  #isAlive(name: string): boolean {
    return this.process(name).ending === undefined;
  }

  #socket(pod: string): string {
    const { namespace = NAMESPACE } = this.#options.pods[pod] ?? {};
    return join(podDirectory(this.workspace.path("run"), { namespace, name: pod }), FD_SOCKET);
  }

  #start(name: string, argv: readonly string[], env: Record<string, string>): ManagedProcess {
    const process = this.workspace.start({
      name,
      argv,
      env: { SHIMMY_LOG_LEVEL: "info", ...env },
      onLine: (line) => {
        this.#logs.push(`${name}: ${line}`);
        if (this.#logs.length > LOG_LINES) this.#logs.shift();
      },
    });
    this.#processes.set(name, process);
    return process;
  }

  async #awaitReady(
    name: string,
    process: ManagedProcess,
    isReady: () => Promise<boolean>,
  ): Promise<void> {
    await eventually(`${name} to be ready`, async () => {
      if (process.ending !== undefined) throw new Error(`${name} ended\n${this.logs}`);
      return isReady();
    });
  }
}
