/**
 * Everything a run starts or writes, so that all of it is gone when the run is.
 *
 *   I1  every process leads its own group and has the run's marker in its environment
 *   I2  files are below one directory, which is removed last
 *   I3  the guard does both when this process is gone without having done so
 */
import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ShimmyError } from "../../common/errors.ts";
import { Guard } from "./guard.ts";
import { ManagedProcess, type ProcessOptions } from "./managed-process.ts";

/** Directories of runs begin like this; `shimmy top` looks for them. */
export const DIRECTORY_PREFIX = "shimmy-run-";

const MARKER = "SHIMMY_RUN_ID";
/** Longer ones leave no room for socket paths below (unix(7): 107 bytes). */
const MAX_TMPDIR_LENGTH = 24;
const STOP_GRACE_MS = 3000;

/** Options of {@link Workspace.start}. */
export interface StartOptions extends Omit<ProcessOptions, "env"> {
  /** Added to the environment of this process, whose own SHIMMY_* variables are left out. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The processes and files of one run. */
export class Workspace {
  readonly directory: string;
  readonly #id = randomUUID();
  readonly #guard: Guard;
  readonly #processes: ManagedProcess[] = [];
  #isClosed = false;

  constructor() {
    this.directory = mkdtempSync(join(temporaryRoot(), DIRECTORY_PREFIX));
    // Servers that give root up must reach what they serve; nobody else can list it.
    chmodSync(this.directory, 0o711);
    this.#guard = new Guard(`${MARKER}=${this.#id}`, this.directory);
  }

  /** Path of a file of this run. */
  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  /**
   * Starts a process.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after {@link Workspace.close}: whoever still
   * starts things after ctrl-C must not leave them behind.
   */
  start({ env = {}, ...options }: StartOptions): ManagedProcess {
    if (this.#isClosed) {
      throw new ShimmyError("SHIMMY_ERR_CLOSED", `start ${options.name}: the run is over`);
    }
    const started = new ManagedProcess({
      ...options,
      env: { ...cleanEnvironment(process.env), ...env, [MARKER]: this.#id },
    });
    this.#processes.push(started);
    return started;
  }

  /** Stops what was started, last first, and removes all files. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // A few at a time would be slower; the order matters only between programs and sidecars.
    for (const process of this.#processes.reverse()) await process.stop(STOP_GRACE_MS);
    for (const pid of marked(`${MARKER}=${this.#id}`)) kill(pid);
    rmSync(this.directory, { recursive: true, force: true });
    await this.#guard.dismiss();
  }
}

/** Where directories of runs are made. */
export function temporaryRoot(): string {
  return tmpdir().length > MAX_TMPDIR_LENGTH ? "/tmp" : tmpdir();
}

/** The environment without what is ours: a program under a run must not inherit another run's. */
export function cleanEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("SHIMMY_")));
}

/** Processes that left their group, as daemons do, and still have the marker. */
function marked(marker: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(marker))
    .map(Number);
}

function environmentOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  } catch {
    return []; // it has ended, or is another user's
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}
