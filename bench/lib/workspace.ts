// Everything a run starts or writes, so that all of it is gone when the run is: by its end, by an
// error, by ctrl-C.
//
//   I1  every process is the leader of its own process group, and is stopped by that number only
//   I2  temporary files are below one directory, removed last
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CpuMeter, type CpuRole } from "./cpu.ts";

const START_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 5_000;
const POLL_MS = 10;
const LOG_TAIL_CHARACTERS = 2_000;
const EXIT_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** How a process is started. */
export interface SpawnOptions {
  /** Names the log file and error messages. */
  readonly name: string;
  /** Where its CPU time is counted. @defaultValue nowhere */
  readonly role?: CpuRole | undefined;
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A process that runs until it is stopped. */
export interface Daemon {
  readonly pid: number;
  readonly logPath: string;
  isRunning(): boolean;
  /** SIGTERM, and SIGKILL when that is not enough. */
  stop(): Promise<void>;
}

/** The processes and files of one run. */
export class Workspace {
  readonly directory: string;
  readonly cpu: CpuMeter;
  readonly #children = new Set<ChildProcess>();
  readonly #cleanups: (() => void)[] = [];
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.closeNow();
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  readonly #onExit = (): void => {
    this.closeNow();
  };

  constructor(cpu: CpuMeter = new CpuMeter()) {
    this.cpu = cpu;
    this.directory = mkdtempSync(join(tmpdir(), "shimmy-bench-"));
    // Servers that drop root (nginx) must reach what they serve; nobody else can list it.
    chmodSync(this.directory, 0o711);
    for (const signal of EXIT_SIGNALS) process.on(signal, this.#onSignal);
    process.on("exit", this.#onExit);
  }

  /** Has something removed at the end, once all processes were stopped; it must not wait for long. */
  onClose(cleanup: () => void): void {
    this.#cleanups.push(cleanup);
  }

  /** Path of a file of this run. */
  path(name: string): string {
    return join(this.directory, name);
  }

  /** Starts a process that goes on; its output is in a log file of the workspace. */
  start({ name, role, argv, env }: SpawnOptions): Daemon {
    const logPath = this.path(`${name}.log`);
    const log = openSync(logPath, "w");
    const child = this.#spawn(role?.wrap(argv) ?? argv, env, log);
    closeSync(log); // the child has its own
    const { pid } = child;
    if (pid === undefined) throw new Error(`${name}: cannot start ${argv.join(" ")}`);
    role?.add(pid);
    return {
      pid,
      logPath,
      isRunning: () => !hasEnded(child),
      stop: () => this.#stop(child),
    };
  }

  /**
   * Runs a program to its end and gives back what it wrote to standard output.
   *
   * @throws Error when it cannot be run or its exit code is not 0.
   */
  async run({ name, role, argv, env }: SpawnOptions): Promise<string> {
    const child = this.#spawn(role?.wrapProgram(argv) ?? argv, env, "pipe");
    const out: string[] = [];
    const err: string[] = [];
    child.stdout?.setEncoding("utf8").on("data", (text: string) => out.push(text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => err.push(text));
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    if (code !== 0) {
      throw new Error(
        `${name} ended with ${code}: ${argv.join(" ")}\n${err.join("")}${out.join("")}`,
      );
    }
    return out.join("");
  }

  /**
   * Waits until something accepts connections there.
   *
   * @throws Error with the end of the log when nothing does in time.
   */
  async waitForPort(daemon: Daemon, address: string, port: number): Promise<void> {
    const isReady = (): Promise<boolean> => canConnect(address, port);
    await this.waitUntil(daemon, `${address}:${port} to accept`, isReady);
  }

  /**
   * Waits until a condition of a starting process holds.
   *
   * @throws Error with the end of the log when it does not hold in time.
   */
  async waitUntil(daemon: Daemon, what: string, condition: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await condition())) {
      if (performance.now() > deadline || !daemon.isRunning()) throw failure(daemon, what);
      await delay(POLL_MS);
    }
    // The condition may hold because of somebody else: a server on the same port.
    await delay(POLL_MS);
    if (!daemon.isRunning()) throw failure(daemon, what);
  }

  /** Stops everything in an orderly way and removes all files. Safe to call twice. */
  async close(): Promise<void> {
    await Promise.all([...this.#children].map((child) => this.#stop(child)));
    this.closeNow();
  }

  /** The same at once, for exits that cannot wait. */
  closeNow(): void {
    for (const child of this.#children) signalGroup(child, "SIGKILL");
    for (const signal of EXIT_SIGNALS) process.off(signal, this.#onSignal);
    process.off("exit", this.#onExit);
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    this.cpu.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #spawn(
    argv: readonly string[],
    env: Readonly<Record<string, string>> | undefined,
    output: "pipe" | number,
  ): ChildProcess {
    const [command = "", ...args] = argv;
    const child = spawn(command, args, {
      cwd: this.directory,
      detached: true, // I1
      stdio: ["ignore", output, output],
      env: { ...cleanEnvironment(), ...env },
    });
    // A program that is not there is reported by run(), or by waitUntil() for daemons.
    child.on("error", () => this.#children.delete(child));
    child.once("exit", () => this.#children.delete(child));
    this.#children.add(child);
    return child;
  }

  async #stop(child: ChildProcess): Promise<void> {
    if (hasEnded(child) || child.pid === undefined) return;
    const ended = new Promise<void>((resolve) => {
      child.once("exit", () => {
        resolve();
      });
    });
    signalGroup(child, "SIGTERM");
    const timer = setTimeout(() => {
      signalGroup(child, "SIGKILL");
    }, STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
    // Its children, if it left any behind.
    signalGroup(child, "SIGKILL");
  }
}

// Settings of the person who runs the bench must not change what is measured.
function cleanEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env);
  return Object.fromEntries(entries.filter(([name]) => !name.startsWith("SHIMMY_")));
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group is empty: it has ended.
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function failure({ logPath }: Daemon, what: string): Error {
  const log = readFileSync(logPath, "utf8").slice(-LOG_TAIL_CHARACTERS);
  return new Error(`waited in vain for ${what}\n${logPath}:\n${log}`);
}

function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (result: boolean) => (): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", finish(true));
    socket.once("error", finish(false));
  });
}
