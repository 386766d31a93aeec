import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient } from "@redis/client";

import { canConnect } from "../../cli/local/wait.ts";
import { eventually } from "./eventually.ts";

/** A real Redis server of a test's own, which keeps nothing on disk. */
export class RedisServer {
  readonly port: number;
  readonly directory: string;
  #child: ChildProcess | undefined;

  private constructor(port: number) {
    this.port = port;
    this.directory = mkdtempSync(join(tmpdir(), "shimmy-redis-"));
  }

  /** @param args - Further arguments of redis-server. */
  static async start(args: readonly string[] = []): Promise<RedisServer> {
    const server = new RedisServer(await freePort());
    await server.run(args);
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  /** Starts the process, on the port that the server has from the start. */
  async run(args: readonly string[] = []): Promise<void> {
    const own = ["--bind", "127.0.0.1", "--port", String(this.port), "--dir", this.directory];
    const quiet = ["--save", "", "--appendonly", "no"];
    const child = spawn("redis-server", [...own, ...quiet, ...args], { stdio: "ignore" });
    this.#child = child;
    await eventually("redis-server to accept", () => {
      if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`);
      return canConnect("127.0.0.1", this.port);
    });
  }

  /** Stops the process where it is, or lets it go on. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(signal);
  }

  /** Runs a command as anybody could who can reach the server. */
  async command(...words: readonly string[]): Promise<unknown> {
    const client = createClient({ url: this.url, RESP: 2, disableClientInfo: true });
    await client.connect();
    try {
      return await client.sendCommand([...words]);
    } finally {
      client.destroy();
    }
  }

  /** Runs a command that is answered with text; empty when there is none. */
  async text(...words: readonly string[]): Promise<string> {
    const answer = await this.command(...words);
    return typeof answer === "string" ? answer : "";
  }

  /** Ends the process. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Ends the process and removes its files. */
  async close(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
