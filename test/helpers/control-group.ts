import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = "/sys/fs/cgroup";
const PERIOD_MICROS = 100_000;

/** A group whose time on the CPU can be limited, of whichever version this machine has. Needs root. */
export class CpuGroup {
  readonly #path: string;
  readonly #isUnified: boolean;

  private constructor(path: string, isUnified: boolean) {
    this.#path = path;
    this.#isUnified = isUnified;
  }

  /** Makes a group directly below the root. */
  static make(name: string): CpuGroup {
    const isUnified = existsSync(join(ROOT, "cgroup.controllers"));
    const path = join(isUnified ? ROOT : join(ROOT, "cpu"), `shimmy-test-${name}-${process.pid}`);
    mkdirSync(path);
    return new CpuGroup(path, isUnified);
  }

  /** Moves a whole process here. */
  add(pid: number): void {
    this.#write("cgroup.procs", String(pid));
  }

  /** Limits the group to a share of one CPU. */
  limit(share: number): void {
    const micros = Math.round(share * PERIOD_MICROS);
    if (this.#isUnified) {
      this.#write("cpu.max", `${micros} ${PERIOD_MICROS}`);
      return;
    }
    this.#write("cpu.cfs_period_us", String(PERIOD_MICROS));
    this.#write("cpu.cfs_quota_us", String(micros));
  }

  /** Takes the limit away. */
  unlimit(): void {
    if (this.#isUnified) this.#write("cpu.max", `max ${PERIOD_MICROS}`);
    else this.#write("cpu.cfs_quota_us", "-1");
  }

  /** In how many periods so far its time ran out. */
  throttledPeriods(): number {
    const text = readFileSync(join(this.#path, "cpu.stat"), "utf8");
    return Number(/^nr_throttled (\d+)$/m.exec(text)?.[1]);
  }

  /** Removes the group, whose processes must have ended. */
  remove(): void {
    rmdirSync(this.#path);
  }

  #write(file: string, text: string): void {
    writeFileSync(join(this.#path, file), text);
  }
}
