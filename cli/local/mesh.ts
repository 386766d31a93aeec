import { existsSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { stringify } from "yaml";

import { ADMIN_SOCKET, FD_SOCKET, podDirectory } from "../../agent/api.ts";
import type { StatusReply } from "../../sidecar/status.ts";
import { formatHost, getJson } from "../http.ts";
import type { ManagedProcess, OutputStream } from "./managed-process.ts";
import { waitUntil } from "./wait.ts";
import type { Workspace } from "./workspace.ts";

/** Namespace of everything in a mesh of this machine. */
export const NAMESPACE = "default";
/** Port of every sidecar's admin pages, on the address of its pod. */
export const ADMIN_PORT = 14_790;
/** Port of topics over HTTP, on the address of the pod. */
export const TOPICS_PORT = 14_791;

/** One pod to set up a sidecar for. */
export interface MeshPod {
  readonly name: string;
  /** Its own address; its application listens there. */
  readonly address: string;
  /** What it serves. */
  readonly serves: readonly { readonly service: string; readonly port: number }[];
  /** Its upstreams as SHIMMY_UPSTREAMS has them; may be empty. */
  readonly upstreams: string;
  /** Where its upstreams are served. @defaultValue loopback */
  readonly listenAddress?: string;
  /** Addresses of topics over HTTP, on loopback. @defaultValue none */
  readonly topicsAddresses?: readonly string[];
}

/** Options for {@link Mesh.start}. */
export interface MeshOptions {
  readonly pods: readonly MeshPod[];
  readonly logLevel: string;
  /** Called for each log line of agent and sidecars. */
  readonly onLine?: (name: string, line: string, stream: OutputStream) => void;
}

/** This command itself, compiled or not, as a process of its own. */
const MAIN = join(import.meta.dirname, `../main${extname(import.meta.filename)}`);
const START_TIMEOUT_MS = 15_000;

/** An agent and sidecars in local mode. They live in a workspace and end with it. */
export class Mesh {
  /** The agent's node-wide socket. */
  readonly adminSocket: string;
  readonly #workspace: Workspace;
  readonly #options: MeshOptions;
  readonly #sidecars = new Map<string, ManagedProcess>();
  #agent: ManagedProcess | undefined;

  private constructor(workspace: Workspace, options: MeshOptions) {
    this.#workspace = workspace;
    this.#options = options;
    this.adminSocket = workspace.path("run", ADMIN_SOCKET);
  }

  /**
   * Starts the agent, then all sidecars.
   *
   * @returns When every sidecar is ready.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when one does not become ready.
   */
  static async start(workspace: Workspace, options: MeshOptions): Promise<Mesh> {
    const mesh = new Mesh(workspace, options);
    await mesh.#startAgent();
    await Promise.all(options.pods.map(({ name }) => mesh.startSidecar(name)));
    return mesh;
  }

  /** The agent, and the sidecar of each pod that was started last. */
  get processes(): readonly ManagedProcess[] {
    return [...(this.#agent === undefined ? [] : [this.#agent]), ...this.#sidecars.values()];
  }

  /** The sidecar of a pod that was started last. */
  sidecar(pod: string): ManagedProcess | undefined {
    return this.#sidecars.get(pod);
  }

  /** URL of the admin pages of a pod's sidecar. */
  adminUrl(pod: string): string {
    return `http://${formatHost(this.#pod(pod).address, ADMIN_PORT)}`;
  }

  /**
   * Starts the sidecar of a pod; also again, after it has ended.
   *
   * @returns When it is ready.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it does not become ready.
   */
  async startSidecar(pod: string): Promise<void> {
    const { name, address, upstreams, listenAddress, topicsAddresses = [] } = this.#pod(pod);
    const topics = topicsAddresses.map((each) => formatHost(each, TOPICS_PORT));
    const sidecar = this.#startSelf(`sidecar of ${name}`, "sidecar", {
      SHIMMY_POD: `${NAMESPACE}/${name}`,
      SHIMMY_AGENT_DIR: podDirectory(this.#workspace.path("run"), { namespace: NAMESPACE, name }),
      SHIMMY_ADMIN_ADDRESS: formatHost(address, ADMIN_PORT),
      SHIMMY_DRAIN_TIMEOUT: "0",
      ...(topics.length === 0 ? {} : { SHIMMY_TOPICS_ADDRESSES: topics.join(",") }),
      ...(upstreams === "" ? {} : { SHIMMY_UPSTREAMS: upstreams }),
      ...(listenAddress === undefined ? {} : { SHIMMY_LISTEN_ADDRESSES: listenAddress }),
    });
    this.#sidecars.set(pod, sidecar);
    const status = `${this.adminUrl(pod)}/v1/status`;
    await waitUntil({
      process: sidecar,
      otherwise: "did not become ready",
      timeoutMs: START_TIMEOUT_MS,
      condition: async () => {
        const reply = (await getJson({ url: status })) as StatusReply | undefined;
        // Another program may have the port, another run's sidecar for one.
        return reply?.ready === true && reply.pid === sidecar.pid;
      },
    });
  }

  async #startAgent(): Promise<void> {
    const catalog = this.#workspace.path("catalog.yaml");
    writeFileSync(catalog, catalogText(this.#options.pods));
    const agent = this.#startSelf("agent", "agent", {
      SHIMMY_CATALOG: catalog,
      SHIMMY_RUNTIME_DIR: this.#workspace.path("run"),
    });
    this.#agent = agent;
    const sockets = this.#options.pods.map(({ name }) =>
      join(podDirectory(this.#workspace.path("run"), { namespace: NAMESPACE, name }), FD_SOCKET),
    );
    await waitUntil({
      process: agent,
      otherwise: "did not open its sockets",
      timeoutMs: START_TIMEOUT_MS,
      condition: () => Promise.resolve(sockets.every((path) => existsSync(path))),
    });
  }

  #startSelf(name: string, command: string, env: Record<string, string>): ManagedProcess {
    const { logLevel, onLine } = this.#options;
    return this.#workspace.start({
      name,
      argv: [process.execPath, MAIN, command],
      env: { ...env, SHIMMY_LOG_LEVEL: logLevel },
      onLine: (line, stream) => onLine?.(name, line, stream),
    });
  }

  #pod(name: string): MeshPod {
    const pod = this.#options.pods.find((each) => each.name === name);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    return pod;
  }
}

/** The agent's catalog for these pods; pods that serve the same service stand behind it together. */
export function catalogText(pods: readonly MeshPod[]): string {
  const services = new Map<string, { port: number; pods: string[] }>();
  for (const { name, serves } of pods) {
    for (const { service, port } of serves) {
      const entry = services.get(service) ?? { port, pods: [] };
      entry.pods.push(name);
      services.set(service, entry);
    }
  }
  return stringify({
    pods: pods.map(({ name, address, serves }) => ({
      name,
      address,
      ports: serves.map(({ port }) => port),
    })),
    services: [...services].map(([name, entry]) => ({
      name,
      ports: [{ port: entry.port }],
      pods: entry.pods,
    })),
  });
}
