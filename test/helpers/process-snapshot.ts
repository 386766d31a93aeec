import { readdirSync, readFileSync } from "node:fs";

/** What a process holds of what could leak. */
export interface ProcessSnapshot {
  readonly fds: number;
  /** Mappings of memfds; a stream has several. */
  readonly memfdMappings: number;
  readonly threads: number;
  /** Resident, files of programs included. */
  readonly residentBytes: number;
  /** Resident, private to the process. */
  readonly anonymousBytes: number;
  /** Resident, shared: each page divided by the number of its users. */
  readonly sharedBytes: number;
}

/** Looks at a process of ours. */
export function snapshotProcess(pid: number): ProcessSnapshot {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? 0);
  return {
    fds: readdirSync(`/proc/${pid}/fd`).length,
    memfdMappings: readFileSync(`/proc/${pid}/maps`, "utf8").split("/memfd:").length - 1,
    threads: readdirSync(`/proc/${pid}/task`).length,
    residentBytes: kilobytes("Rss") * 1024,
    anonymousBytes: kilobytes("Anonymous") * 1024,
    sharedBytes: kilobytes("Pss_Shmem") * 1024,
  };
}

/** State letter of a process as proc(5) has it; `undefined` when it is gone. */
export function processState(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .slice(0, 1);
  } catch {
    return undefined;
  }
}

/** Hundredths of a second: USER_HZ, which is the same on every architecture (time(7)). */
const TICKS_PER_SECOND = 100;

/** User and system time of a process and its threads so far. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
