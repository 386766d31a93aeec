import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

import { ShimmyError } from "../../common/errors.ts";
import { signalExitCode } from "../daemon.ts";

/** How a process is started. */
export interface ProcessOptions {
  /** Names it in messages. */
  readonly name: string;
  readonly argv: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** @defaultValue that of this process */
  readonly cwd?: string;
  /** Whether it reads this process's standard input. @defaultValue false */
  readonly readsInput?: boolean;
  /** Called for each line of its output. */
  readonly onLine?: (line: string, stream: OutputStream) => void;
}

/** Which output a line came from. */
export type OutputStream = "stdout" | "stderr";

/** How a process ended. */
export type Ending =
  { readonly code: number } | { readonly signal: NodeJS.Signals } | { readonly error: Error };

const LAST_LINES = 10;
const POLL_MS = 10;

/** A child process that leads its own process group, so that its children can be ended with it. */
export class ManagedProcess {
  readonly name: string;
  readonly pid: number | undefined;
  /** Resolves when it ended and its output was read; never rejects. */
  readonly ended: Promise<Ending>;
  readonly #child: ChildProcess;
  readonly #lastLines: string[] = [];
  #ending: Ending | undefined;

  constructor({ name, argv, env, cwd, readsInput = false, onLine }: ProcessOptions) {
    const [command = "", ...args] = argv;
    this.name = name;
    this.#child = spawn(command, args, {
      detached: true,
      env,
      stdio: [readsInput ? "inherit" : "ignore", "pipe", "pipe"],
      ...(cwd === undefined ? {} : { cwd }),
    });
    this.pid = this.#child.pid;
    this.ended = this.#awaitEnd();
    this.#readLines("stdout", onLine);
    this.#readLines("stderr", onLine);
  }

  /** How it ended, or `undefined` while it runs. */
  get ending(): Ending | undefined {
    return this.#ending;
  }

  /** The last lines of its output, of both streams. */
  get lastLines(): readonly string[] {
    return this.#lastLines;
  }

  /** Sends a signal to it and its children; nothing happens when they are gone. */
  signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // The group is empty.
    }
  }

  /** Asks it and its children to end, and makes them after a time. */
  async stop(graceMs: number): Promise<void> {
    this.signal("SIGTERM");
    const deadline = performance.now() + graceMs;
    while (this.#isGroupAlive() && performance.now() < deadline) await delay(POLL_MS);
    this.signal("SIGKILL");
    while (this.#isGroupAlive()) await delay(POLL_MS);
    await this.ended;
  }

  #isGroupAlive(): boolean {
    if (this.pid === undefined) return false;
    try {
      return process.kill(-this.pid, 0);
    } catch {
      return false;
    }
  }

  #awaitEnd(): Promise<Ending> {
    const { promise, resolve } = Promise.withResolvers<Ending>();
    const end = (ending: Ending): void => {
      this.#ending ??= ending;
      resolve(this.#ending);
    };
    this.#child.once("error", (error) => {
      end({ error });
    });
    this.#child.once("exit", (code, signal) => {
      this.#ending ??= signal === null ? { code: code ?? 0 } : { signal };
      // A child of it that lives on keeps the pipes open: "close" may never come.
      setTimeout(() => {
        resolve(this.#ending ?? { code: 0 });
      }, 500).unref();
    });
    this.#child.once("close", () => {
      end({ code: 0 });
    });
    return promise;
  }

  #readLines(stream: OutputStream, onLine: ProcessOptions["onLine"]): void {
    const input = this.#child[stream];
    if (input === null) return;
    createInterface({ input, crlfDelay: Infinity }).on("line", (line) => {
      this.#lastLines.push(line);
      if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
      onLine?.(line, stream);
    });
  }
}

/** How a process ended, in words: `ended with code 1`. */
export function describeEnding(ending: Ending): string {
  if ("error" in ending) return `could not be started: ${ending.error.message}`;
  return "code" in ending ? `ended with code ${ending.code}` : `was ended by ${ending.signal}`;
}

/** The exit code a shell would report; 127 for what could not be started. */
export function endingExitCode(ending: Ending): number {
  if ("error" in ending) return 127;
  return "code" in ending ? ending.code : signalExitCode(ending.signal);
}

/** The error of a process that is not there although it is needed. */
export function processFailure(program: ManagedProcess, what: string): ShimmyError {
  const { name, ending, lastLines } = program;
  const state = ending === undefined ? "runs" : describeEnding(ending);
  const said = lastLines.length === 0 ? "" : `; its last words: ${lastLines.slice(-3).join(" / ")}`;
  return new ShimmyError("SHIMMY_ERR_SYSTEM", `${name} ${what}; it ${state}${said}`);
}
