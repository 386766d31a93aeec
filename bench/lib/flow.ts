// Runs programs that stream messages, and looks at their CPU time and memory between "all are
// connected" and "all was consumed": bench/native/channel_flow.cc and its TypeScript twin.
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { ChannelAgent } from "./channel-agent.ts";
import type { CpuRole } from "./cpu.ts";
import { MemoryGroup, type MemoryUse } from "./memory-group.ts";
import { median } from "./stats.ts";
import type { Workspace } from "./workspace.ts";

const POLL_MS = 5;
const NOTHING: MemoryUse = { ownBytes: 0, socketBytes: 0, elsewhereBytes: 0, totalBytes: 0 };

/** What is to be streamed. */
export interface FlowOptions {
  /** The program, with arguments that only it has. */
  readonly argv: readonly string[];
  readonly transport: "none" | "tcp" | "lock";
  readonly moving: "copy" | "loan";
  readonly sessions: number;
  readonly size: number;
  readonly count: number;
}

/** What a program printed. */
interface Tally {
  readonly sent: number;
  readonly received: number;
  readonly published: number;
  readonly taken: number;
  readonly sleeps: number;
  readonly wakes: number;
  readonly bells: number;
}

/** What one run took. */
export interface FlowFigures extends Tally {
  readonly seconds: number;
  /** User and system time of all its processes, from the first message to the last. */
  readonly cpuMicros: number;
  /** Memory beyond what the processes hold before they attach or send: at most, and as a rule. */
  readonly peak: MemoryUse;
  readonly usual: MemoryUse;
}

/** Streams, one run at a time. */
export class FlowRunner {
  readonly #workspace: Workspace;
  readonly #agent: ChannelAgent;
  readonly #role: CpuRole;
  #runs = 0;

  constructor(workspace: Workspace, agent: ChannelAgent) {
    this.#workspace = workspace;
    this.#agent = agent;
    this.#role = workspace.cpu.role("flow");
  }

  /**
   * Runs one.
   *
   * @throws Error when messages were lost, or did not go through Shimmy's channels.
   */
  async run(options: FlowOptions): Promise<FlowFigures> {
    const { transport, moving, sessions, size, count } = options;
    const topic = `flow${this.#runs++}`;
    const gate = this.#workspace.path(`${topic}-gate`);
    const memory = MemoryGroup.make(topic);
    const argv = [
      ...options.argv,
      ...["--transport", transport, "--moving", moving, "--sessions", String(sessions)],
      ...["--size", String(size), "--count", String(count), "--gate", gate],
      ...["--sockets", this.#agent.sockets.join(","), "--topic", topic],
    ];
    const running = this.#workspace.run({
      name: `${transport} ${moving}`,
      role: this.#role,
      argv: memory?.wrap(argv) ?? argv,
    });
    const [text, measured] = await Promise.all([running, this.#measure(gate, running, memory)]);
    memory?.remove();
    const tally = JSON.parse(text) as Tally;
    requireDelivered(options, tally);
    if (transport === "lock") {
      const topics = Array.from({ length: sessions }, (_, session) => `${topic}-${session}`);
      await this.#agent.forget(topics);
    }
    return { ...tally, ...measured };
  }

  async #measure(
    gate: string,
    running: Promise<unknown>,
    memory: MemoryGroup | undefined,
  ): Promise<Omit<FlowFigures, keyof Tally>> {
    // Its own error is told by who waits for it.
    const program = { hasEnded: false };
    const noteEnd = (): void => {
      program.hasEnded = true;
    };
    running.then(noteEnd, noteEnd);
    const passed = async (step: string, look?: () => void): Promise<void> => {
      while (!existsSync(`${gate}.${step}`) && !program.hasEnded) {
        await delay(POLL_MS);
        look?.();
      }
    };
    const uses: MemoryUse[] = [];
    await passed("ready");
    const before = this.#role.usageMicros();
    const since = performance.now();
    writeFileSync(`${gate}.go`, "");
    await passed("done", () => {
      if (memory !== undefined) uses.push(memory.read());
    });
    const seconds = (performance.now() - since) / 1000;
    const cpuMicros = this.#role.usageMicros() - before;
    if (memory !== undefined && !program.hasEnded) uses.push(memory.read());
    writeFileSync(`${gate}.end`, "");
    return { seconds, cpuMicros, peak: peakOf(uses), usual: usualOf(uses) };
  }
}

/** The moment at which most was held. */
function peakOf(uses: readonly MemoryUse[]): MemoryUse {
  return uses.toSorted((one, other) => other.totalBytes - one.totalBytes)[0] ?? NOTHING;
}

function usualOf(uses: readonly MemoryUse[]): MemoryUse {
  if (uses.length === 0) return NOTHING;
  const of = (name: keyof MemoryUse): number => median(uses.map((use) => use[name]));
  return {
    ownBytes: of("ownBytes"),
    socketBytes: of("socketBytes"),
    elsewhereBytes: of("elsewhereBytes"),
    totalBytes: of("totalBytes"),
  };
}

// Without as many messages on the channels' own counters it was something else that was fast.
function requireDelivered({ transport, sessions, count }: FlowOptions, tally: Tally): void {
  const { sent, received, published, taken } = tally;
  const expected = sessions * count;
  const isOurs = transport !== "lock" || (published === expected && taken === expected);
  if (sent === expected && received === expected && isOurs) return;
  throw new Error(`${expected} messages over ${transport}, but ${JSON.stringify(tally)}`);
}
