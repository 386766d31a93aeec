/**
 * What looks to an agent like pods of its node, without a cluster: processes in network and PID
 * namespaces of their own and in cgroups named as the kubelet names them, joined by a bridge. Beside
 * them a real agent without privileges, the real helper, and real sidecars. Needs root.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, renameSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { stringify } from "yaml";

import { ADMIN_SOCKET, type HealthReply } from "../../agent/api.ts";
import type { CatalogFilePod, CatalogFileService } from "../../agent/catalog-schema.ts";
import { getText } from "../../cli/http.ts";
import type { ManagedProcess } from "../../cli/local/managed-process.ts";
import { Workspace } from "../../cli/local/workspace.ts";
import type { StatusReply } from "../../sidecar/status.ts";
import { eventually } from "./eventually.ts";
import { Metrics } from "./local-mesh.ts";
import { mustRun, type ProgramResult } from "./run-program.ts";
import { SLOW_SIDECAR } from "./slowness.ts";

const ROOT = join(import.meta.dirname, "../..");
const COMMAND = join(ROOT, "cli/bin.js");
const HELPER = join(ROOT, "build/release/shimmy-netns-helper");
const RUN_AGENT = join(ROOT, "test/fixtures/run-node-agent.ts");
/** As in the image: neither agent nor sidecar is root. */
const USER = 65_532;
const UNPRIVILEGED = [
  "setpriv",
  ...[`--reuid=${USER}`, `--regid=${USER}`, "--clear-groups", "--no-new-privs"],
  "--bounding-set=-all",
];
const CGROUPS = "/sys/fs/cgroup";
const LOG_LINES = 80;
const ADMIN_PORT = 14_790;

/**
 * With cgroups of version 2 alone, containers see their own cgroup as the root of all: the agent
 * too, for which other pods' lie beside it.
 */
const IS_UNIFIED = existsSync(join(CGROUPS, "cgroup.controllers"));
const PRIVATE_CGROUP = IS_UNIFIED ? ["--cgroup"] : [];
const PODS = join(CGROUPS, IS_UNIFIED ? "" : "pids", "kubepods/burstable");

/** Writes itself into the cgroups named before `--`, then becomes what follows. */
const JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"';

/** A pod that runs, or whose name only is known to the agent. */
export interface NodePod {
  readonly name: string;
  readonly uid: string;
  readonly address: string;
  /** Folder of its container's cgroup. */
  readonly cgroup: string;
}

/** Where a program runs. */
export interface Surroundings {
  /** Pod whose network namespace it is in; the node's if none is named. */
  readonly network?: NodePod;
  /** Folders of cgroups, of which the process is moved to the last. */
  readonly cgroups?: readonly string[];
}

/** The node: agent, helper and pods, until {@link NodePods.close}. */
export class NodePods {
  readonly workspace = new Workspace();
  readonly #pods = new Map<string, NodePod>();
  readonly #listed = new Map<string, CatalogFilePod>();
  readonly #services: CatalogFileService[] = [];
  readonly #sandboxes = new Map<string, ManagedProcess>();
  readonly #cgroups = new Set<string>();
  readonly #logs: string[] = [];
  readonly #processes = new Map<string, ManagedProcess>();
  readonly #agentUid = randomUUID();
  #switchPid = 0;

  /** What agent, helper and sidecars have logged last. */
  get logs(): string {
    return this.#logs.join("\n");
  }

  /** Makes the bridge, and starts helper and agent, with no pod yet. */
  async start(): Promise<void> {
    // The agent is another user than the one that made it.
    mkdirSync(this.workspace.path("run"));
    chmodSync(this.workspace.path("run"), 0o777);
    const bridge = this.workspace.start({ name: "switch", argv: isolated(["--net"]) });
    this.#switchPid = await namespaced(bridge);
    await this.#onSwitch("ip link add br0 type bridge && ip link set br0 up");
    this.startHelper();
    this.#writeCatalog();
    await this.startAgent();
  }

  /** Starts the helper; also again, after it has ended. */
  startHelper(): void {
    // Process 1 of the machine need not be one whose namespaces may be looked at.
    const node = ["--node-net", "/proc/self/ns/net"];
    const argv = [HELPER, "--uid", String(USER), ...node, this.#helperSocket];
    this.#run("helper", this.#asContainerOfAgent("helper", argv));
  }

  /** Starts the agent; also again, after it has ended. */
  async startAgent(): Promise<void> {
    const { workspace } = this;
    const files = [workspace.path("catalog.yaml"), workspace.path("run"), this.#helperSocket];
    const argv = [...UNPRIVILEGED, process.execPath, RUN_AGENT, ...files];
    this.#run("agent", this.#asContainerOfAgent("agent", argv));
    await eventually(
      "the agent to serve",
      async () => (await this.#fromAgent("/v1/health")) ?? false,
    );
  }

  /** Names a pod to the agent; it has no processes yet. */
  list(name: string, spec: Partial<CatalogFilePod> = {}): NodePod {
    const address = `10.201.0.${this.#pods.size + 1}`;
    const pod = this.#pods.get(name) ?? this.#makePod(name, address);
    this.#listed.set(name, { name, uid: pod.uid, address: pod.address, ...spec });
    this.#writeCatalog();
    return pod;
  }

  /** Does the same for a service. */
  listService(service: CatalogFileService): void {
    this.#services.push(service);
    this.#writeCatalog();
  }

  /** A pod's cgroup and its folder, not yet named to the agent. */
  prepare(name: string): NodePod {
    return this.#pods.get(name) ?? this.#makePod(name, `10.201.0.${this.#pods.size + 1}`);
  }

  /** Gives a pod its namespaces, and a process that keeps them. */
  async run(pod: NodePod): Promise<void> {
    const sandbox = this.workspace.start({
      name: pod.name,
      argv: joining(
        [pod.cgroup],
        isolated([...PRIVATE_CGROUP, "--net", "--pid", "--fork", "--kill-child"]),
      ),
    });
    this.#sandboxes.set(pod.name, sandbox);
    const pid = await namespaced(sandbox);
    const port = `p${pod.address.split(".").at(-1) ?? ""}`;
    await this.#onSwitch(
      `ip link add ${port} type veth peer name eth0 netns ${pid} && ` +
        `ip link set ${port} master br0 up`,
    );
    await this.in(pod, [
      ...["sh", "-c"],
      `ip link set lo up && ip link set eth0 up && ip addr add ${pod.address}/24 dev eth0`,
    ]);
  }

  /** Kills all processes of a pod that has no sidecar; its namespaces are gone with them. */
  async kill(pod: NodePod): Promise<void> {
    const sandbox = this.#sandboxes.get(pod.name);
    sandbox?.signal("SIGKILL");
    await sandbox?.ended;
  }

  /** Runs a program in a pod, as one of its containers would be, to its end. */
  in(pod: NodePod, argv: readonly string[]): Promise<ProgramResult> {
    return mustRun(this.#entering(pod, argv));
  }

  /** Runs a program in any combination of network namespace and cgroup, to its end. */
  within(surroundings: Surroundings, argv: readonly string[]): Promise<ProgramResult> {
    return mustRun(this.enter(surroundings, argv));
  }

  /** The command for that. It becomes the program, so that its process is the program's. */
  enter({ network, cgroups = [] }: Surroundings, argv: readonly string[]): string[] {
    const into =
      network === undefined ? [] : ["nsenter", `--net=${this.#namespace(network, "net")}`];
    return joining(cgroups, [...into, ...argv]);
  }

  /** Starts a program in a pod. */
  startIn(pod: NodePod, name: string, argv: readonly string[]): ManagedProcess {
    return this.#run(name, this.#entering(pod, argv));
  }

  /** Starts the sidecar of a pod, which is not root, as a container of its own if `cgroup` is one. */
  startSidecar(
    pod: NodePod,
    upstreams = "",
    { env = {}, cgroup = pod.cgroup }: { env?: Record<string, string>; cgroup?: string } = {},
  ): ManagedProcess {
    const argv = [...UNPRIVILEGED, process.execPath, COMMAND, "sidecar"];
    return this.#run(`sidecar of ${pod.name}`, this.#entering({ ...pod, cgroup }, argv), {
      SHIMMY_POD: `default/${pod.name}`,
      SHIMMY_AGENT_DIR: "@shimmy",
      SHIMMY_DRAIN_TIMEOUT: "0",
      ...SLOW_SIDECAR,
      ...(upstreams === "" ? {} : { SHIMMY_UPSTREAMS: upstreams }),
      ...env,
    });
  }

  /** Makes the cgroup of another container of a pod. */
  makeContainer({ cgroup }: NodePod, name: string): string {
    return this.makeCgroup(join(dirname(cgroup), name));
  }

  /** Waits until a pod's sidecar is connected to the agent. */
  async connected(pod: NodePod): Promise<void> {
    await this.#eventually(`the sidecar of ${pod.name} to have its agent`, async () => {
      const status = await this.status(pod);
      return status?.agent.connected === true && status.ready;
    });
  }

  /** `/v1/status` of a sidecar, if it answers. */
  async status(pod: NodePod): Promise<StatusReply | undefined> {
    try {
      return JSON.parse(await this.#fromSidecar(pod, "/v1/status")) as StatusReply;
    } catch {
      return undefined;
    }
  }

  /** Metrics of a sidecar. */
  async metrics(pod: NodePod): Promise<Metrics> {
    return new Metrics(await this.#fromSidecar(pod, "/metrics"));
  }

  /** Metrics of the agent. */
  async agentMetrics(): Promise<Metrics> {
    return new Metrics((await this.#fromAgent("/metrics")) ?? "");
  }

  /** Health of the agent. */
  async health(): Promise<HealthReply> {
    return JSON.parse((await this.#fromAgent("/v1/health")) ?? "{}") as HealthReply;
  }

  /** Names of the agent's kind that are bound where a pod's processes, or the node's, see them. */
  async names(network?: NodePod): Promise<string[]> {
    const where = network === undefined ? {} : { network };
    const { stdout } = await this.within(where, ["cat", "/proc/self/net/unix"]);
    // A listener's flags are 00010000 (__SO_ACCEPTCON); what it accepted has its name as well.
    const listening = /^\S+ \S+ \S+ 00010000 .* (@shimmy\/\S+)$/gm;
    return [...stdout.matchAll(listening)].map(([, name = ""]) => name).sort();
  }

  /** Waits until a pod has the agent's sockets. */
  async served(pod: NodePod): Promise<void> {
    await this.#eventually(`sockets in ${pod.name}`, async () => {
      return (await this.names(pod)).join() === "@shimmy/api,@shimmy/fd";
    });
  }

  /** The agent (`agent`), the helper or a program started in a pod. */
  process(name: string): ManagedProcess {
    const process = this.#processes.get(name);
    if (process === undefined) throw new Error(`${name} was not started`);
    return process;
  }

  /** Ends everything, and removes files and cgroups. Safe to call twice. */
  async close(): Promise<void> {
    const all = [...this.#processes.values(), ...this.#sandboxes.values()];
    // The first process of a PID namespace does not hear SIGTERM.
    for (const process of all) process.signal("SIGKILL");
    await Promise.all(all.map((process) => process.ended));
    await this.workspace.close();
    for (const cgroup of [...this.#cgroups].reverse()) await removeCgroup(cgroup);
    this.#cgroups.clear();
  }

  /** Makes a cgroup below another one, as a process could to which that was delegated. */
  makeCgroup(path: string): string {
    const missing: string[] = [];
    for (let folder = path; !existsSync(folder); folder = dirname(folder)) missing.unshift(folder);
    for (const folder of missing) {
      mkdirSync(folder);
      this.#cgroups.add(folder);
    }
    return path;
  }

  get #helperSocket(): string {
    return this.workspace.path("run", "helper.sock");
  }

  #makePod(name: string, address: string): NodePod {
    const uid = randomUUID();
    const container = uid.replaceAll("-", "").repeat(2);
    const cgroup = join(PODS, `pod${uid}`, container);
    if (IS_UNIFIED) this.#delegate(dirname(cgroup));
    const pod = { name, uid, address, cgroup: this.makeCgroup(cgroup) };
    this.#pods.set(name, pod);
    return pod;
  }

  /** As kubelets do: what is below a pod's cgroup has the memory controller. */
  #delegate(path: string): void {
    this.makeCgroup(path);
    const folders: string[] = [];
    for (let folder = path; folder !== CGROUPS; folder = dirname(folder)) folders.unshift(folder);
    for (const folder of folders) writeFileSync(join(folder, "cgroup.subtree_control"), "+memory");
  }

  #writeCatalog(): void {
    const file = { node: "node", pods: [...this.#listed.values()], services: this.#services };
    const path = this.workspace.path("catalog.yaml");
    writeFileSync(`${path}.new`, stringify(file));
    renameSync(`${path}.new`, path);
  }

  #run(name: string, argv: readonly string[], env: Record<string, string> = {}): ManagedProcess {
    const process = this.workspace.start({
      name,
      argv,
      env,
      onLine: (line) => {
        this.#logs.push(`${name}: ${line}`);
        if (this.#logs.length > LOG_LINES) this.#logs.shift();
      },
    });
    this.#processes.set(name, process);
    return process;
  }

  #asContainerOfAgent(name: string, argv: readonly string[]): readonly string[] {
    if (!IS_UNIFIED) return argv;
    const cgroup = this.makeCgroup(join(PODS, `pod${this.#agentUid}`, name));
    return joining([cgroup], ["unshare", "--cgroup", ...argv]);
  }

  #entering(pod: NodePod, argv: readonly string[]): string[] {
    const kinds = ["net", "pid", ...(IS_UNIFIED ? (["cgroup"] as const) : [])] as const;
    const into = kinds.map((kind) => `--${kind}=${this.#namespace(pod, kind)}`);
    return joining([pod.cgroup], ["nsenter", ...into, "--", ...argv]);
  }

  /** The process that waits for the first one of the pod's PID namespace is in the others. */
  #namespace(pod: NodePod, kind: "net" | "pid" | "cgroup"): string {
    const pid = this.#sandboxes.get(pod.name)?.pid;
    if (pid === undefined) throw new Error(`pod ${pod.name} does not run`);
    return `/proc/${pid}/ns/${kind === "pid" ? "pid_for_children" : kind}`;
  }

  async #onSwitch(script: string): Promise<void> {
    await mustRun(["nsenter", `--net=/proc/${this.#switchPid}/ns/net`, "sh", "-c", script]);
  }

  async #fromSidecar(pod: NodePod, path: string): Promise<string> {
    const url = `http://127.0.0.1:${ADMIN_PORT}${path}`;
    const where = this.enter({ network: pod }, ["curl", "-sS", "--max-time", "5", url]);
    return (await mustRun(where)).stdout;
  }

  #fromAgent(path: string): Promise<string | undefined> {
    return getText({ socketPath: this.workspace.path("run", ADMIN_SOCKET), path });
  }

  async #eventually(what: string, condition: () => Promise<boolean>): Promise<void> {
    try {
      await eventually(what, condition);
    } catch (err) {
      throw new Error(`no ${what}\n${this.logs}`, { cause: err });
    }
  }
}

function joining(cgroups: readonly string[], argv: readonly string[]): string[] {
  return ["sh", "-c", JOIN, "sh", ...cgroups, "--", ...argv];
}

function isolated(kinds: readonly string[]): string[] {
  return ["unshare", ...kinds, "sleep", "infinity"];
}

/** Waits until a process is in a network namespace of its own, and its child where it is to be. */
async function namespaced({ pid, name }: ManagedProcess): Promise<number> {
  if (pid === undefined) throw new Error(`${name} was not started`);
  const own = (await mustRun(["readlink", "/proc/self/ns/net"])).stdout;
  await eventually(`${name} to have namespaces`, async () => {
    const links = ["net", "pid_for_children"].map((kind) => `/proc/${pid}/ns/${kind}`);
    const { stdout } = await mustRun(["readlink", ...links]).catch(() => ({ stdout: own }));
    return stdout.includes("net:") && stdout.includes("pid:") && !stdout.startsWith(own);
  });
  return pid;
}

/** Processes that were killed leave their cgroup a moment after they have ended. */
async function removeCgroup(path: string): Promise<void> {
  await eventually(`${path} to be empty`, () => {
    try {
      rmdirSync(path);
    } catch (err) {
      const { code } = err as NodeJS.ErrnoException;
      // Not empty for others' sake: a kubelet of this machine has its own there.
      return code !== "EBUSY";
    }
    return true;
  });
}
