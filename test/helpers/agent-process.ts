import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";

import { podDirectory } from "../../agent/api.ts";

/** A line of the agent's log. */
export interface LogEvent {
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** An agent in a process of its own, with a catalog that the test writes. */
export class AgentProcess {
  readonly runtimeDir: string;
  readonly #base = mkdtempSync(join(tmpdir(), "shimmy-agent-"));
  readonly #catalogPath = join(this.#base, "catalog.yaml");
  readonly log: LogEvent[] = [];
  readonly #redisUrl: string | undefined;
  #child: ChildProcess | undefined;
  #wake: () => void = () => undefined;

  constructor(catalog: string, redisUrl?: string) {
    this.#redisUrl = redisUrl;
    // Other users have to get through to the sockets that are for them.
    chmodSync(this.#base, 0o711);
    this.runtimeDir = join(this.#base, "run");
    this.writeCatalog(catalog);
  }

  /** Starts the process and waits until it serves. */
  async start(): Promise<void> {
    const seen = this.log.length;
    this.#child = this.spawn();
    await this.logged("agent started", seen);
  }

  /** Starts another process on the same directory. */
  spawn(): ChildProcess {
    const script = join(import.meta.dirname, "../fixtures/run-agent.ts");
    const redis = this.#redisUrl === undefined ? [] : [this.#redisUrl];
    const args = [script, this.#catalogPath, this.runtimeDir, ...redis];
    const child = spawn(process.execPath, args, {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.log.push(JSON.parse(line) as LogEvent);
      this.#wake();
    });
    return child;
  }

  /** Waits for a line of the log. */
  async logged(message: string, since = 0): Promise<LogEvent> {
    for (;;) {
      const event = this.log.slice(since).find(({ msg }) => msg === message);
      if (event !== undefined) return event;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Writes the catalog in place. */
  writeCatalog(catalog: string): void {
    writeFileSync(this.#catalogPath, catalog);
  }

  /** Ends the process and waits for it. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  /** Ends the process and removes the files. */
  async close(): Promise<void> {
    await this.stop("SIGKILL");
    rmSync(this.#base, { recursive: true, force: true });
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  /** How many descriptors the process has. */
  get openFds(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** Its resident memory, in bytes. */
  get residentBytes(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  /** The directory of a pod of namespace `default`. */
  podDirectory(name: string): string {
    return podDirectory(this.runtimeDir, { namespace: "default", name });
  }

  /** Asks a pod's HTTP socket, or the node-wide one for no pod. */
  async get(path: string, pod?: string): Promise<{ status: number | undefined; body: string }> {
    return this.ask({ path, method: "GET" }, pod);
  }

  /** Sends a request with or without a body of JSON. */
  async ask(
    { path, method, body }: { path: string; method: string; body?: unknown },
    pod?: string,
  ): Promise<{ status: number | undefined; body: string }> {
    const socketPath =
      pod === undefined
        ? join(this.runtimeDir, "agent.sock")
        : join(this.podDirectory(pod), "api.sock");
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const outgoing = request({ socketPath, path, method, headers, agent: false });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    return { status: response.statusCode, body: await text(response) };
  }
}
