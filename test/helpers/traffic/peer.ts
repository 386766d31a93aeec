import { execFileSync, spawn, type ChildProcessByStdio } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

import { encodeSide, type Side } from "./script.ts";

/** What one side of a connection saw. */
export interface TrafficRecord {
  /** `ran`, `not accepted`, or the errno of `connect`. */
  readonly outcome: string;
  readonly received: number;
  /** Offset of the first byte that is not what the other side sends there, or -1. */
  readonly wrongAt: number;
  /** `open` (the end was not reached), `EOF`, `stuck`, or an errno. */
  readonly receiveEnd: string;
  readonly sent: number;
  /** `ok`, `stuck`, or an errno. */
  readonly sendEnd: string;
}

interface Reply extends Partial<TrafficRecord> {
  readonly ready?: boolean;
  readonly armed?: number;
  readonly stale?: number;
  readonly id?: number;
}

const ROOT = join(import.meta.dirname, "../../..");
const PROGRAM = join(ROOT, "build/release/traffic_peer");

/** Builds the program; nothing happens when it is up to date. */
export function buildTrafficPeer(): void {
  execFileSync("bash", ["scripts/build-native.sh", "release", "traffic_peer"], {
    cwd: ROOT,
    stdio: ["ignore", "ignore", "inherit"],
  });
}

const running = new Set<TrafficPeer>();

/** Ends all there are; for the end of a test file, whatever happened in it. */
export async function killTrafficPeers(): Promise<void> {
  await Promise.all([...running].map((peer) => peer.kill()));
}

/** A process of test/fixtures/traffic: one side of many connections. It ends with this one. */
export class TrafficPeer {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<string, PromiseWithResolvers<Reply>>();
  readonly #ended: Promise<unknown>;
  #hasEnded = false;

  private constructor(args: readonly string[]) {
    this.#child = spawn(PROGRAM, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#ended = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.once("close", () => {
      this.#hasEnded = true;
      running.delete(this);
      this.#failAll();
    });
    running.add(this);
    // It may have been killed, which its caller knows.
    this.#child.stdin.on("error", () => undefined);
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.#take(JSON.parse(line) as Reply);
    });
  }

  /** Starts a client. */
  static async client(): Promise<TrafficPeer> {
    const peer = new TrafficPeer(["client"]);
    await peer.#expect("ready");
    return peer;
  }

  /** Starts a server that listens on `count` ports. */
  static async server(address: string, firstPort: number, count: number): Promise<TrafficPeer> {
    const peer = new TrafficPeer(["server", address, String(firstPort), String(count)]);
    await peer.#expect("ready");
    return peer;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Opens a connection and runs a script on it. */
  async run(id: number, to: { address: string; port: number }, side: Side): Promise<TrafficRecord> {
    const record = this.#expect(`record ${id}`);
    this.#say(`run ${id} ${to.address} ${to.port} ${encodeSide(side)}`);
    return record as Promise<TrafficRecord>;
  }

  /**
   * Prepares a script for the next connection to a port.
   *
   * @returns When the port is ready, with a promise of the record.
   */
  async arm(id: number, port: number, side: Side): Promise<{ record: Promise<TrafficRecord> }> {
    const record = this.#expect(`record ${id}`) as Promise<TrafficRecord>;
    record.catch(() => undefined); // the caller looks at it later
    const armed = this.#expect(`armed ${id}`);
    armed.catch(() => undefined);
    this.#say(`arm ${id} ${port} ${encodeSide(side)}`);
    await Promise.race([armed, record]);
    return { record };
  }

  /** Says that a connection which has not arrived will not; it is still waited for a little. */
  disarm(id: number): void {
    this.#say(`disarm ${id}`);
  }

  /** Ends the process with SIGKILL; what runs is rejected. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** Sends a signal. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  #say(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  #expect(what: string): Promise<Reply> {
    const waiter = Promise.withResolvers<Reply>();
    if (this.#hasEnded) waiter.reject(new Error(`traffic_peer has ended, no ${what}`));
    else this.#waiting.set(what, waiter);
    return waiter.promise;
  }

  #take(reply: Reply): void {
    const what =
      reply.ready === true
        ? "ready"
        : reply.armed === undefined
          ? `record ${reply.id}`
          : `armed ${reply.armed}`;
    this.#waiting.get(what)?.resolve(reply);
    this.#waiting.delete(what);
  }

  #failAll(): void {
    for (const [what, { reject }] of this.#waiting) {
      reject(new Error(`traffic_peer ended before: ${what}`));
    }
    this.#waiting.clear();
  }
}
