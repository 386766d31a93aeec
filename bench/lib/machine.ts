import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";

/** What the figures were measured on. Holds no name of the machine or of its owner. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly architecture: string;
  readonly node: string;
  readonly isVirtual: boolean;
}

/** Describes this machine. */
export function describeMachine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    architecture: process.arch,
    node: process.version,
    isVirtual: existsSync("/sys/hypervisor") || cpuFlags().includes("hypervisor"),
  };
}

/** The commit of the work tree, with `-dirty` when tracked files differ from it. */
export function describeCommit(): string {
  return (
    output("git", ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]) ?? "unknown"
  );
}

/** First line that a program prints, as for its version; undefined when it cannot be run. */
export function firstLine(command: string, args: readonly string[]): string | undefined {
  return output(command, args)?.split("\n")[0];
}

function cpuFlags(): readonly string[] {
  return output("grep", ["-m1", "^flags", "/proc/cpuinfo"])?.split(" ") ?? [];
}

function output(command: string, args: readonly string[]): string | undefined {
  try {
    const text = execFileSync(command, args, {
      cwd: import.meta.dirname,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    return text.trim();
  } catch {
    return undefined;
  }
}
