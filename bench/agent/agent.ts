// The agent as it is on a node, in production form (dist/): without privileges, beside the helper
// that enters the pods' network namespaces for it.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { buildNetnsHelper } from "../lib/native.ts";
import type { Daemon, Workspace } from "../lib/workspace.ts";
import { NODE } from "./size.ts";

const ROOT = join(import.meta.dirname, "../..");
const COMMAND = join(ROOT, "dist/cli/main.js");
/** As in the image. */
const USER = 65_532;
const UNPRIVILEGED = [
  "setpriv",
  ...[`--reuid=${USER}`, `--regid=${USER}`, "--clear-groups", "--no-new-privs"],
  "--bounding-set=-all",
];
const KIB_PER_MIB = 1024;

/** A running agent, until the workspace is closed. */
export class NodeAgent {
  readonly #workspace: Workspace;
  readonly #daemon: Daemon;

  private constructor(workspace: Workspace, daemon: Daemon) {
    this.#workspace = workspace;
    this.#daemon = daemon;
  }

  /**
   * Starts helper and agent.
   *
   * @param server - URL of the API server.
   * @throws Error when dist/ has not been built, or the helper cannot be.
   */
  static start(workspace: Workspace, server: string): NodeAgent {
    if (!existsSync(COMMAND)) throw new Error("dist/ is not there: run `npm run build` first");
    const run = workspace.path("run");
    mkdirSync(run);
    chmodSync(run, 0o777);
    const kubeconfig = workspace.path("kubeconfig");
    writeFileSync(kubeconfig, kubeconfigFor(server));
    const socket = join(run, "helper.sock");
    // Process 1 of the machine need not be one whose namespaces may be looked at.
    const node = ["--node-net", "/proc/self/ns/net"];
    const helper = [buildNetnsHelper(), "--uid", String(USER), ...node, socket];
    workspace.start({ name: "helper", argv: helper });
    const argv = [...UNPRIVILEGED, process.execPath, COMMAND, "agent"];
    const daemon = workspace.start({
      name: "agent",
      role: workspace.cpu.role("agent"),
      argv: [...argv, "--admin-address", "127.0.0.1:0"],
      env: {
        SHIMMY_NODE_NAME: NODE,
        SHIMMY_KUBECONFIG: kubeconfig,
        SHIMMY_NETNS_HELPER: socket,
        SHIMMY_RUNTIME_DIR: run,
      },
    });
    return new NodeAgent(workspace, daemon);
  }

  /** @throws Error with what it wrote last when it has ended. */
  requireRunning(): void {
    if (!this.#daemon.isRunning()) throw new Error(`the agent ended: ${this.log}`);
  }

  /** The end of what it wrote. */
  get log(): string {
    return readFileSync(this.#daemon.logPath, "utf8").slice(-2000);
  }

  /** Time on the CPU so far, in microseconds. */
  get cpuMicros(): number {
    return this.#workspace.cpu.role("agent").usageMicros();
  }

  /** The kernel's own high-water mark. */
  get peakRssMib(): number {
    const status = readFileSync(`/proc/${this.#daemon.pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(?<kib>\d+)/m.exec(status)?.groups?.["kib"]) / KIB_PER_MIB;
  }
}

function kubeconfigFor(server: string): string {
  return JSON.stringify({
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user: { token: "t" } }],
  });
}
