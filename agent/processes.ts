import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { readCgroup } from "./cgroup.ts";

/** A process of a pod. A number is given again; together with its start it is not. */
export interface PodProcess {
  readonly pid: number;
  /** In clock ticks since boot, as `/proc/PID/stat` has it. */
  readonly startTime: number;
  /** UID of the pod. */
  readonly pod: string;
}

/** Options for {@link PodProcesses}. */
export interface PodProcessesOptions {
  /** @defaultValue `/proc` */
  readonly proc?: string;
}

/**
 * How often a process that is no pod's is looked at again: a container's first process exists
 * before the runtime moves it to the container's cgroup.
 */
const YOUNG_SCANS = 20;
/** Of older ones, and of those of pods, one in so many at each scan: a number may be another's now. */
const ROTATION = 32;
/** Reading all of them in one turn would stop the agent for a time; between turns others have theirs. */
const READS_PER_TURN = 500;

/** proc(5): state is field 3, starttime field 22. The name before them may hold anything. */
const STATE_FIELD = 0;
const START_TIME_FIELD = 22 - 3;

/** What is remembered of a process. */
interface Known {
  /** Absent when it is no pod's. */
  readonly process: PodProcess | undefined;
  /** How many more scans look at it each time. */
  youngScans: number;
}

/**
 * The processes of pods on this node, found by looking through `/proc`.
 *
 * Only what is new is read, so that a scan costs little more than the list of numbers: 4 ms of CPU
 * for 3,100 processes, and 90 ms for the first one (on a virtual machine with two cores of an Intel
 * Xeon, Linux 6.18). What it gives was true when it was read: whoever uses a process has it checked
 * again, by {@link PodProcesses.isAlive} or by the helper that enters its namespace.
 */
export class PodProcesses {
  readonly #proc: string;
  readonly #known = new Map<number, Known>();
  /** By pod, those that live, in the order found. */
  readonly #byPod = new Map<string, Map<number, PodProcess>>();
  #round = 0;
  #scan: Promise<void> | undefined;

  constructor({ proc = "/proc" }: PodProcessesOptions = {}) {
    this.#proc = proc;
  }

  /** How many processes are known, those of no pod included. */
  get size(): number {
    return this.#known.size;
  }

  /** A pod's processes as of the last scan, the one that started first before the others. */
  of(pod: string): PodProcess[] {
    const found = [...(this.#byPod.get(pod)?.values() ?? [])];
    return found.sort((a, b) => a.startTime - b.startTime || a.pid - b.pid);
  }

  /** Whether it is there still: the same one, and not only its number. */
  isAlive({ pid, startTime }: PodProcess): boolean {
    return this.#startTimeOf(pid) === startTime;
  }

  /** Looks through `/proc`. One at a time: a second call waits for the scan that is going on. */
  scan(): Promise<void> {
    this.#scan ??= this.#look().finally(() => {
      this.#scan = undefined;
    });
    return this.#scan;
  }

  async #look(): Promise<void> {
    const round = ++this.#round;
    const present = new Set<number>();
    let reads = 0;
    for (const name of readdirSync(this.#proc)) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      present.add(pid);
      if (!this.#isDue(pid, round)) continue;
      this.#read(pid);
      if (++reads % READS_PER_TURN === 0) await nextTurn();
    }
    for (const pid of this.#known.keys()) {
      if (!present.has(pid)) this.#forget(pid);
    }
  }

  #isDue(pid: number, round: number): boolean {
    const known = this.#known.get(pid);
    if (known === undefined || (pid + round) % ROTATION === 0) return true;
    if (known.youngScans === 0) return false;
    known.youngScans--;
    return true;
  }

  /** Reads a process, and remembers what it is now. */
  #read(pid: number): void {
    const process = this.#processOf(pid);
    const before = this.#known.get(pid);
    const youngScans = process === undefined ? (before?.youngScans ?? YOUNG_SCANS) : 0;
    if (before?.process !== undefined) this.#forget(pid);
    this.#known.set(pid, { process, youngScans });
    if (process === undefined) return;
    const siblings = this.#byPod.get(process.pod) ?? new Map<number, PodProcess>();
    this.#byPod.set(process.pod, siblings.set(pid, process));
  }

  #processOf(pid: number): PodProcess | undefined {
    // The start first: should the number change hands in between, then the start is the dead one's.
    const startTime = this.#startTimeOf(pid);
    const text = this.#readFile(pid, "cgroup");
    if (startTime === undefined || text === undefined) return undefined;
    const reading = readCgroup(text);
    return reading.kind === "pod" ? { pid, startTime, pod: reading.uid } : undefined;
  }

  #startTimeOf(pid: number): number | undefined {
    const stat = this.#readFile(pid, "stat");
    const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ") ?? [];
    // One that has ended and waits for its parent has no namespaces any more.
    if (fields[STATE_FIELD] === "Z" || fields[STATE_FIELD] === "X") return undefined;
    const startTime = Number(fields[START_TIME_FIELD]);
    return Number.isSafeInteger(startTime) ? startTime : undefined;
  }

  /** `undefined` when the process is gone. */
  #readFile(pid: number, name: string): string | undefined {
    try {
      return readFileSync(join(this.#proc, String(pid), name), "utf8");
    } catch {
      return undefined;
    }
  }

  #forget(pid: number): void {
    const process = this.#known.get(pid)?.process;
    this.#known.delete(pid);
    if (process === undefined) return;
    const siblings = this.#byPod.get(process.pod);
    siblings?.delete(pid);
    if (siblings?.size === 0) this.#byPod.delete(process.pod);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
