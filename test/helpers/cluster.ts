/** A real cluster on this machine: test/cluster/lab. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { parsePrometheus, sumSamples, type Sample } from "../../cli/prometheus.ts";
import { PACKAGE_ROOT } from "../../common/version.ts";
import { mustRun, runProgram } from "./run-program.ts";

const LAB = join(PACKAGE_ROOT, "test/cluster/lab");
const IMAGE = "lab.local/shimmy";
const TAG = "test";
const BUILD_LIMIT_MS = 1_800_000;
const COMMAND_LIMIT_MS = 360_000;

/** A cluster with Shimmy's image on its nodes, until {@link Cluster.close}. */
export class Cluster {
  /** Files of the cluster and of its tests. */
  readonly directory: string;
  readonly #env: Readonly<Record<string, string>>;
  #written = 0;

  private constructor(directory: string) {
    this.directory = directory;
    this.#env = { LAB_WORK: directory, LAB_ID: `sl${process.pid}x` };
  }

  /** Starts a cluster of `nodes` nodes, named n1, n2 and so on; builds it when it was never built. */
  static async start(nodes = 2): Promise<Cluster> {
    // Names of Unix sockets in it are short.
    const cluster = new Cluster(mkdtempSync("/tmp/lab"));
    try {
      await cluster.#lab(["build.sh"]);
      const image = join(cluster.directory, "shimmy.tar");
      await mustRun(["bash", join(PACKAGE_ROOT, "image/build.sh"), image, `${IMAGE}:${TAG}`], {
        timeoutMs: BUILD_LIMIT_MS,
      });
      await cluster.#lab(["up.sh", String(nodes)]);
      await cluster.#lab(["load.sh", image]);
      cluster.#writeTools();
      return cluster;
    } catch (err) {
      await cluster.close();
      throw err;
    }
  }

  /** Runs kubectl and gives its output. */
  async kubectl(...args: readonly string[]): Promise<string> {
    return (await this.#lab(["kubectl", ...args])).trimEnd();
  }

  /** Writes a file for kubectl, and gives its path. */
  write(yaml: string): string {
    const path = join(this.directory, `written-${this.#written++}.yaml`);
    writeFileSync(path, yaml);
    return path;
  }

  /** Applies text. */
  async apply(yaml: string): Promise<void> {
    await this.kubectl("apply", "-f", this.write(yaml));
  }

  /**
   * Runs a line as a person at a terminal would, with `kubectl` and `shimmy` on the PATH.
   *
   * @throws Error with what it printed when it fails.
   */
  async run(line: string): Promise<string> {
    return await this.#lab(["in.sh", "cp", join(this.directory, "tools/run"), line]);
  }

  /** Installs Shimmy as manifests/install does, with the image of this tree. */
  async install(): Promise<void> {
    await this.kubectl("apply", "--server-side", "-k", join(PACKAGE_ROOT, "manifests/base/crds"));
    await this.kubectl("apply", "--server-side", "-k", this.installDirectory);
  }

  /** What a person would have made of manifests/install. */
  get installDirectory(): string {
    return join(this.directory, "install");
  }

  /** Waits for the rollout of a Deployment or DaemonSet. */
  async rolledOut(what: string, namespace = "default"): Promise<void> {
    await this.kubectl("-n", namespace, "rollout", "status", what, "--timeout=120s");
  }

  /** Names of the running pods with a label. */
  async pods(label: string, namespace = "default"): Promise<string[]> {
    const text = await this.kubectl(...["-n", namespace, "get", "pods", "-l", label, "-o", "json"]);
    const { items } = JSON.parse(text) as { items: readonly Pod[] };
    return items
      .filter(({ metadata, status }) => {
        return status.phase === "Running" && metadata.deletionTimestamp === undefined;
      })
      .map(({ metadata }) => metadata.name);
  }

  /** Runs a command in a container of a pod. */
  async exec(pod: string, container: string, ...command: readonly string[]): Promise<string> {
    return this.kubectl("exec", pod, "-c", container, "--", ...command);
  }

  /** Scrapes the sidecar of a pod. */
  async metrics(pod: string): Promise<PodMetrics> {
    return this.scrape(await this.addressOf(pod));
  }

  /** Address of a pod. */
  async addressOf(pod: string, namespace = "default"): Promise<string> {
    return this.kubectl("-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.podIP}");
  }

  /** Scrapes the sidecar, agent or master at an address, without the API server. */
  async scrape(address: string): Promise<PodMetrics> {
    return new PodMetrics(
      await this.#lab(["in.sh", "cp", "curl", "-sf", `http://${address}:14790/metrics`]),
    );
  }

  /** Makes a fault or mends it, see test/cluster/lab/fault.sh. */
  async fault(...words: readonly string[]): Promise<void> {
    await this.#lab(["fault.sh", ...words]);
  }

  /** Runs a command among a node's processes, mounts and interfaces. */
  async onNode(node: string, ...command: readonly string[]): Promise<string> {
    return (await this.#lab(["on.sh", node, ...command])).trimEnd();
  }

  /** Packets that a pod has sent over the network. */
  async packetsSent(pod: string, container: string): Promise<number> {
    const text = await this.exec(
      pod,
      container,
      "cat",
      "/sys/class/net/eth0/statistics/tx_packets",
    );
    return Number(text);
  }

  /** What happened, for the message of a test that failed. */
  async describe(): Promise<string> {
    const looks = [
      ["get", "pods", "-A", "-o", "wide"],
      ["get", "events", "-A", "--sort-by=.lastTimestamp"],
      ["-n", "shimmy-system", "logs", "ds/shimmy-agent", "-c", "agent", "--tail=20"],
    ];
    const texts = await Promise.all(looks.map((args) => this.kubectl(...args).catch(String)));
    return texts.join("\n\n");
  }

  /** Ends all of it and removes its files. Safe to call twice. */
  async close(): Promise<void> {
    await runProgram(["bash", join(LAB, "down.sh"), "--purge"], {
      env: this.#env,
      timeoutMs: COMMAND_LIMIT_MS,
    });
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #lab([script = "", ...args]: readonly string[]): Promise<string> {
    const timeoutMs = script === "build.sh" ? BUILD_LIMIT_MS : COMMAND_LIMIT_MS;
    const argv = ["bash", join(LAB, script), ...args];
    const { code, stdout, stderr } = await runProgram(argv, { env: this.#env, timeoutMs });
    if (code === 0) return stdout;
    throw new Error(`${script} ${args.join(" ")}: exit ${code ?? "by signal"}\n${stdout}${stderr}`);
  }

  #writeTools(): void {
    const tools = join(this.directory, "tools");
    mkdirSync(tools);
    const node = process.execPath;
    const script = `#!/bin/sh\nexec "${node}" "${join(PACKAGE_ROOT, "cli/bin.js")}" "$@"\n`;
    writeFileSync(join(tools, "shimmy"), script, { mode: 0o755 });
    const run = `#!/usr/bin/env bash
set -euo pipefail
source "${LAB}/env.sh"
cd "${PACKAGE_ROOT}"
export PATH="${tools}:$PATH"
eval "$1"
`;
    writeFileSync(join(tools, "run"), run, { mode: 0o755 });
    mkdirSync(this.installDirectory);
    const path = join(PACKAGE_ROOT, "manifests/install/kustomization.yaml");
    const text = readFileSync(path, "utf8")
      .replace(
        "- ../base",
        `- ${"../".repeat(this.directory.split("/").length)}${PACKAGE_ROOT.slice(1)}/manifests/base`,
      )
      .replace(/^# {3}newName: .*$/m, `    newName: ${IMAGE}`)
      .replace(/^# {3}newTag: .*$/m, `    newTag: ${TAG}`);
    writeFileSync(join(this.installDirectory, "kustomization.yaml"), text);
  }
}

/** The image of this tree, as nodes know it. */
export const SHIMMY_IMAGE = `${IMAGE}:${TAG}`;

interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status: { readonly phase: string };
}

/** One scrape of a sidecar, agent or master. */
export class PodMetrics {
  readonly #samples: readonly Sample[];

  constructor(text: string) {
    this.#samples = parsePrometheus(text);
  }

  /** Adds up the samples of a metric that have these labels. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return sumSamples(this.#samples, name, labels);
  }

  /** Connections of the application by this transport. */
  outbound(transport: "shm" | "tcp"): number {
    return this.sum("shimmy_connections_total", { direction: "outbound", transport });
  }
}

/** nginx, curl, wrk and a shell. */
export const APPS_IMAGE = "lab.local/apps:1";
