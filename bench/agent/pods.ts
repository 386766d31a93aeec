// What looks to an agent like the pods of its node: for each a process in a network namespace and a
// cgroup of its own (bench/native/pods.cc), which watches Services and reports as a sidecar does.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import {
  encodeMessage,
  PROTOCOL_VERSION,
  type AgentMessage,
  type ClientMessage,
} from "../../agent/api.ts";
import { removeCgroup } from "../lib/cpu.ts";
import { buildNative } from "../lib/native.ts";
import type { Daemon, Workspace } from "../lib/workspace.ts";
import { calledBy, NAMESPACE, podName, podUid, serviceName, SIZE } from "./size.ts";

const CGROUPS = "/sys/fs/cgroup";

/** A message that a pod received. */
export interface Received {
  /** Time of day, in milliseconds. */
  readonly at: number;
  /** Index of the pod. */
  readonly pod: number;
  readonly message: AgentMessage;
}

/** The pods' processes, until the workspace is closed. */
export class NodePods {
  readonly #daemon: Daemon;

  private constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** Starts them. Each looks for its agent until there is one. */
  static start(workspace: Workspace): NodePods {
    const program = buildNative("pods");
    const made: string[] = [];
    workspace.onClose(() => {
      for (const folder of made.toReversed()) removeCgroup(folder);
    });
    const lines = Array.from({ length: SIZE.localPods }, (_, index) => {
      const cgroup = cgroupOf(index);
      makeCgroup(cgroup, made);
      const messages = messagesOf(index).map((message) => encodeMessage(message).toString());
      return [join(cgroup, "cgroup.procs"), ...messages].join("\t");
    });
    const file = workspace.path("pods.tsv");
    writeFileSync(file, `${lines.join("\n")}\n`);
    return new NodePods(workspace.start({ name: "pods", argv: [program, file] }));
  }

  /**
   * Everything that they received so far.
   *
   * @throws Error with what was written last when one of them failed.
   */
  received(): readonly Received[] {
    const lines = readFileSync(this.#daemon.logPath, "utf8").split("\n").slice(0, -1);
    if (!this.#daemon.isRunning()) throw new Error(`pods ended: ${lines.at(-1)?.slice(0, 500)}`);
    return lines.map((line) => {
      const [at = "", pod = "", text = ""] = line.split("\t");
      const message = JSON.parse(text) as AgentMessage;
      if (message.type === "error") throw new Error(`pod ${pod}: ${message.message}`);
      return { at: Number(at), pod: Number(pod), message };
    });
  }
}

function messagesOf(index: number): readonly ClientMessage[] {
  const services = calledBy(index).map((service) => `${NAMESPACE}/${serviceName(service)}`);
  return [
    {
      type: "hello",
      version: PROTOCOL_VERSION,
      pod: { namespace: NAMESPACE, name: podName(index) },
      pid: 1,
      capabilities: { fdPassing: true },
    },
    { type: "watch", services },
    { type: "report", streams: [], fallbacks: {}, sessions: [] },
  ];
}

/** As a kubelet would name it, in a tree of its own: a kubelet of this machine removes what it does not know. */
function cgroupOf(index: number): string {
  const isUnified = existsSync(join(CGROUPS, "cgroup.controllers"));
  const tree = join(CGROUPS, isUnified ? "" : "pids", `shimmy-bench-node-${process.pid}`);
  const uid = podUid(index);
  return join(tree, "kubepods/burstable", `pod${uid}`, uid.replaceAll("-", "").repeat(2));
}

function makeCgroup(path: string, made: string[]): void {
  if (existsSync(path)) return;
  makeCgroup(dirname(path), made);
  mkdirSync(path);
  made.push(path);
}
