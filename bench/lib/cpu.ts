// User and system time of every process of a run, by role.
//
//   I1  a process is in its role's cgroup before its first instruction, so nothing is missed
//   I2  children inherit the cgroup, and what ended keeps counting
//
// cgroup v1 (cpuacct) and v2 (cpu.stat) give nanoseconds and microseconds. Where neither can be
// written, /proc/PID/stat is summed over the role's process trees: ticks of 10 ms, and a process
// that ended counts only from the moment its parent waited for it. The result says which it was.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";

/** How CPU time is counted. */
export type CpuSource = "cgroup v1" | "cgroup v2" | "/proc";

/** One group of processes whose CPU time is counted together. */
export interface CpuRole {
  readonly name: string;
  /** Argument vector that starts `argv` within the role. */
  wrap(argv: readonly string[]): readonly string[];
  /** Tells the role of a process that was started with {@link CpuRole.wrap}. */
  add(pid: number): void;
  /** User and system time so far, in microseconds. Never decreases. */
  usageMicros(): number;
}

interface Hierarchy {
  readonly source: CpuSource;
  readonly root: string;
  readonly read: (directory: string) => number;
}

const V1: Hierarchy = {
  source: "cgroup v1",
  root: "/sys/fs/cgroup/cpuacct",
  read: (directory) => Number(readFileSync(join(directory, "cpuacct.usage"), "utf8")) / 1000,
};

const V2: Hierarchy = {
  source: "cgroup v2",
  root: "/sys/fs/cgroup",
  read: (directory) =>
    Number(/^usage_usec (\d+)$/m.exec(readFileSync(join(directory, "cpu.stat"), "utf8"))?.[1]),
};

/** Linux counts in hundredths of a second there, whatever the kernel's own tick. */
const MICROS_PER_TICK = 10_000;
const REMOVE_ATTEMPTS = 50;
const REMOVE_PAUSE_MS = 20;

/** Makes roles and removes what they made. */
export class CpuMeter {
  readonly source: CpuSource;
  readonly #base: string | undefined;
  readonly #hierarchy: Hierarchy | undefined;
  readonly #roles = new Map<string, CpuRole>();

  constructor() {
    const made = makeBase();
    this.#base = made?.base;
    this.#hierarchy = made?.hierarchy;
    this.source = made?.hierarchy.source ?? "/proc";
  }

  /** The role of that name, made at first use. */
  role(name: string): CpuRole {
    const known = this.#roles.get(name);
    if (known !== undefined) return known;
    const role =
      this.#base === undefined || this.#hierarchy === undefined
        ? new ProcRole(name)
        : new CgroupRole(name, join(this.#base, name), this.#hierarchy.read);
    this.#roles.set(name, role);
    return role;
  }

  /** Removes the cgroups. Every process of every role must have ended. */
  close(): void {
    if (this.#base === undefined) return;
    for (const name of this.#roles.keys()) removeDirectory(join(this.#base, name));
    removeDirectory(this.#base);
    this.#roles.clear();
  }
}

class CgroupRole implements CpuRole {
  readonly name: string;
  readonly #directory: string;
  readonly #read: (directory: string) => number;

  constructor(name: string, directory: string, read: (directory: string) => number) {
    this.name = name;
    this.#directory = directory;
    this.#read = read;
    mkdirSync(directory);
  }

  wrap(argv: readonly string[]): readonly string[] {
    const procs = join(this.#directory, "cgroup.procs");
    return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', procs, ...argv];
  }

  add(): void {
    // The cgroup knows its processes (I1, I2).
  }

  usageMicros(): number {
    return this.#read(this.#directory);
  }
}

class ProcRole implements CpuRole {
  readonly name: string;
  readonly #pids = new Set<number>();
  // The last figure seen of each process, so that ending does not take its time away.
  readonly #ticks = new Map<number, number>();

  constructor(name: string) {
    this.name = name;
  }

  wrap(argv: readonly string[]): readonly string[] {
    return argv;
  }

  add(pid: number): void {
    this.#pids.add(pid);
  }

  usageMicros(): number {
    const processes = readProcesses();
    const members = new Set(this.#pids);
    // Parents have smaller numbers as a rule; two passes take in grandchildren of any order.
    for (let pass = 0; pass < 2; pass++) {
      for (const { pid, parent } of processes) if (members.has(parent)) members.add(pid);
    }
    for (const { pid, ticks } of processes) if (members.has(pid)) this.#ticks.set(pid, ticks);
    return [...this.#ticks.values()].reduce((sum, ticks) => sum + ticks, 0) * MICROS_PER_TICK;
  }
}

function makeBase(): { base: string; hierarchy: Hierarchy } | undefined {
  for (const hierarchy of [V1, V2]) {
    const isThere = existsSync(join(hierarchy.root, "cgroup.procs"));
    if (!isThere) continue;
    const base = join(hierarchy.root, `shimmy-bench-${process.pid}`);
    try {
      mkdirSync(base);
      hierarchy.read(base);
      return { base, hierarchy };
    } catch {
      // Not ours to write: try the next, then /proc.
    }
  }
  return undefined;
}

function removeDirectory(directory: string): void {
  for (let attempt = 0; attempt < REMOVE_ATTEMPTS; attempt++) {
    try {
      rmdirSync(directory);
      return;
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== "EBUSY") return;
      // A killed process leaves its cgroup a moment after it is reaped.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, REMOVE_PAUSE_MS);
    }
  }
}

interface ProcessTimes {
  readonly pid: number;
  readonly parent: number;
  readonly ticks: number;
}

function readProcesses(): readonly ProcessTimes[] {
  const found: ProcessTimes[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      found.push(parseStat(pid, readFileSync(`/proc/${pid}/stat`, "utf8")));
    } catch {
      // It ended between the listing and the reading.
    }
  }
  return found;
}

/** Fields of /proc/PID/stat behind the name, which may hold spaces: proc_pid_stat(5). */
function parseStat(pid: number, text: string): ProcessTimes {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const number = (field: number): number => Number(fields[field - 3]);
  return { pid, parent: number(4), ticks: number(14) + number(15) + number(16) + number(17) };
}
