// Memory of a group of processes as cgroups count it: anonymous pages, shared pages that the group
// touched first, page tables, and the kernel's own objects, those of sockets and their queues
// included.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeCgroup } from "./cpu.ts";
import { readMemfdBytes } from "./memory.ts";

const V1_ROOT = "/sys/fs/cgroup/memory";
const V2_ROOT = "/sys/fs/cgroup";
/** Of the kernel's page counters: no limit. Any number makes it count TCP's queues. */
const COUNT_TCP = String(2 ** 50);

/** What a group holds at one moment, in bytes. */
export interface MemoryUse {
  /** Without pages of files: who reads a program first is charged for it. */
  readonly ownBytes: number;
  /** Of it, queues of sockets. */
  readonly socketBytes: number;
  /** Pages of channels that were charged to somebody else, to the agent that made them. */
  readonly elsewhereBytes: number;
  readonly totalBytes: number;
}

/** One group, directly below the root. Needs root. */
export class MemoryGroup {
  readonly #directory: string;
  readonly #isUnified: boolean;

  private constructor(directory: string, isUnified: boolean) {
    this.#directory = directory;
    this.#isUnified = isUnified;
  }

  /** @returns undefined where no group can be made: without root, or without the controller. */
  static make(name: string): MemoryGroup | undefined {
    const isUnified = !existsSync(join(V1_ROOT, "cgroup.procs"));
    const root = isUnified ? V2_ROOT : V1_ROOT;
    const directory = join(root, `shimmy-bench-${name}-${process.pid}`);
    try {
      mkdirSync(directory);
      if (!isUnified) writeFileSync(join(directory, "memory.kmem.tcp.limit_in_bytes"), COUNT_TCP);
      readFileSync(join(directory, "memory.stat"));
    } catch {
      removeCgroup(directory);
      return undefined;
    }
    return new MemoryGroup(directory, isUnified);
  }

  /** Argument vector that starts `argv` within the group. */
  wrap(argv: readonly string[]): readonly string[] {
    const procs = join(this.#directory, "cgroup.procs");
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', procs, ...argv];
  }

  /** Reads all of it. */
  read(): MemoryUse {
    const stat = this.#readStat();
    const socketBytes = this.#isUnified
      ? (stat["sock"] ?? 0)
      : this.#readNumber("memory.kmem.tcp.usage_in_bytes");
    const ownBytes = this.#isUnified
      ? this.#readNumber("memory.current") - (stat["file"] ?? 0) + (stat["shmem"] ?? 0)
      : this.#readNumber("memory.usage_in_bytes") -
        (stat["cache"] ?? 0) +
        (stat["shmem"] ?? 0) +
        socketBytes;
    const memfdBytes = readMemfdBytes(this.#pids());
    const elsewhereBytes = Math.max(0, memfdBytes - (stat["shmem"] ?? 0));
    return { ownBytes, socketBytes, elsewhereBytes, totalBytes: ownBytes + elsewhereBytes };
  }

  /** Removes the group, whose processes must have ended. */
  remove(): void {
    removeCgroup(this.#directory);
  }

  #pids(): readonly number[] {
    const text = readFileSync(join(this.#directory, "cgroup.procs"), "utf8");
    return text.split("\n").filter(Boolean).map(Number);
  }

  #readNumber(file: string): number {
    return Number(readFileSync(join(this.#directory, file), "utf8"));
  }

  #readStat(): Readonly<Record<string, number>> {
    const lines = readFileSync(join(this.#directory, "memory.stat"), "utf8").split("\n");
    return Object.fromEntries(
      lines.filter(Boolean).map((line) => {
        const [name = "", value] = line.split(" ");
        return [name, Number(value)];
      }),
    );
  }
}
