// User and system time of every process of a run, by role.
//
//   I1  a process is in its role's cgroup before its first instruction, so nothing is missed
//   I2  children inherit the cgroup, and what ended keeps counting
//
// cgroup v1 (cpuacct) and v2 (cpu.stat) give nanoseconds and microseconds. Where neither can be
// written, /proc/PID/stat is summed over the role's process trees, in ticks of 10 ms, and programs
// that end are run by a shell that reports their time. The result says which it was.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How CPU time is counted. */
export type CpuSource = "cgroup v1" | "cgroup v2" | "/proc";

/** One group of processes whose CPU time is counted together. */
export interface CpuRole {
  readonly name: string;
  /** Argument vector that starts `argv` within the role; the process keeps its id. */
  wrap(argv: readonly string[]): readonly string[];
  /** The same for a program that is waited for; it may get a parent between it and us. */
  wrapProgram(argv: readonly string[]): readonly string[];
  /** Tells the role of a process that was started with {@link CpuRole.wrap} and goes on. */
  add(pid: number): void;
  /** User and system time so far, in microseconds. Never decreases. */
  usageMicros(): number;
}

/** One way in which the kernel shows cgroups. */
export interface Hierarchy {
  readonly source: CpuSource;
  readonly root: string;
  readonly read: (directory: string) => number;
}

/** cgroup v1: the cpuacct controller, on its own or together with cpu. */
const V1: Hierarchy = {
  source: "cgroup v1",
  root: "/sys/fs/cgroup/cpuacct",
  read: (directory) => Number(readFileSync(join(directory, "cpuacct.usage"), "utf8")) / 1000,
};

/** cgroup v2: cpu.stat is there whichever controllers are on. */
const V2: Hierarchy = {
  source: "cgroup v2",
  root: "/sys/fs/cgroup",
  read: (directory) =>
    Number(/^usage_usec (\d+)$/m.exec(readFileSync(join(directory, "cpu.stat"), "utf8"))?.[1]),
};

/** Linux counts in hundredths of a second there, whatever the kernel's own tick. */
const MICROS_PER_TICK = 10_000;
const FORCE = { recursive: true, force: true } as const;
const REMOVE_ATTEMPTS = 50;
const REMOVE_PAUSE_MS = 20;

/** Makes roles and removes what they made. */
export class CpuMeter {
  readonly source: CpuSource;
  readonly #base: string | undefined;
  readonly #hierarchy: Hierarchy | undefined;
  readonly #roles = new Map<string, CpuRole>();
  #timesDirectory: string | undefined;

  /** @param hierarchies - Where to look for a cgroup tree, in order; none: /proc is used. */
  constructor(hierarchies: readonly Hierarchy[] = [V1, V2]) {
    const made = makeBase(hierarchies);
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
        ? new ProcRole(name, this.#makeTimesDirectory(name))
        : new CgroupRole(name, join(this.#base, name), this.#hierarchy.read);
    this.#roles.set(name, role);
    return role;
  }

  /** Removes the cgroups. Every process of every role must have ended. */
  close(): void {
    if (this.#timesDirectory !== undefined) rmSync(this.#timesDirectory, FORCE);
    if (this.#base === undefined) return;
    for (const name of this.#roles.keys()) removeCgroup(join(this.#base, name));
    removeCgroup(this.#base);
    this.#roles.clear();
  }

  #makeTimesDirectory(role: string): string {
    this.#timesDirectory ??= mkdtempSync(join(tmpdir(), "shimmy-bench-times-"));
    const directory = join(this.#timesDirectory, role);
    mkdirSync(directory);
    return directory;
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

  wrapProgram(argv: readonly string[]): readonly string[] {
    return this.wrap(argv);
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
  /** One file for each program that ended: what the shell's `times` says. */
  readonly #timesDirectory: string;
  readonly #pids = new Set<number>();
  // The last figure seen of each process, so that ending does not take its time away.
  readonly #ticks = new Map<number, number>();

  #programs = 0;

  constructor(name: string, timesDirectory: string) {
    this.name = name;
    this.#timesDirectory = timesDirectory;
  }

  wrap(argv: readonly string[]): readonly string[] {
    return argv;
  }

  wrapProgram(argv: readonly string[]): readonly string[] {
    const file = join(this.#timesDirectory, String(this.#programs++));
    return ["/bin/sh", "-c", '"$@"; code=$?; times > "$0"; exit $code', file, ...argv];
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
    const ticks = [...this.#ticks.values()].reduce((sum, some) => sum + some, 0);
    return ticks * MICROS_PER_TICK + this.#endedMicros();
  }

  #endedMicros(): number {
    const files = readdirSync(this.#timesDirectory).map((file) => join(this.#timesDirectory, file));
    return files.reduce((sum, file) => sum + parseTimes(readFileSync(file, "utf8")), 0);
  }
}

/** User and system time of the shell's children, in microseconds: the second line of `times`. */
function parseTimes(text: string): number {
  const [, children = ""] = text.split("\n");
  return [...children.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, minutes, seconds]) => sum + (Number(minutes) * 60 + Number(seconds)) * 1e6,
    0,
  );
}

function makeBase(
  hierarchies: readonly Hierarchy[],
): { base: string; hierarchy: Hierarchy } | undefined {
  for (const hierarchy of hierarchies) {
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

/** Removes a cgroup whose processes have been killed; one that somebody else removed is no error. */
export function removeCgroup(directory: string): void {
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
