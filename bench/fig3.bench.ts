// How much sooner does a message over a channel get an answer than one over a socket? The paper's
// Figure 3.
//
// Two processes, round trips of each size. In C++ every transport is driven in the same way; in
// TypeScript the asynchronous calls are what compares with sockets. A message is made anew each
// time, and every byte of what comes is looked at. Channels are the public API's, attached through
// an agent.
import { join } from "node:path";
import type { Bench, Outcome } from "./lib/bench.ts";
import { type ChannelAgent, startChannelAgent } from "./lib/channel-agent.ts";
import { buildNative } from "./lib/native.ts";
import type { BenchOptions } from "./lib/options.ts";
import { inRegime } from "./lib/regime.ts";
import type { Regime } from "./lib/result.ts";
import { rotate, type Sample, Samples } from "./lib/rounds.ts";
import { Workspace } from "./lib/workspace.ts";
import {
  type Cell,
  cellName,
  CELLS,
  computeFig3Ratios,
  FIG3_TARGETS,
  isInCell,
  type Peer,
  PEERS,
} from "./fig3/cells.ts";

const COUNTS = {
  native: { full: 10_000, quick: 2000 },
  ts: { full: 10_000, quick: 1000 },
} as const;
const TS_PROGRAM = join(import.meta.dirname, "fig3/ts-ping.ts");

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "fig3", run };

async function run(options: BenchOptions): Promise<Outcome> {
  const program = buildNative("channel_ping");
  const workspace = new Workspace();
  const samples = new Samples();
  const regimes: readonly Regime[] = options.isQuick ? ["idle"] : ["idle", "busy"];
  const peers = PEERS.filter((peer) => options.only?.includes(peer) ?? true);
  try {
    const agent = await startChannelAgent(workspace);
    const runner = new Runner(workspace, { program, agent, isQuick: options.isQuick });
    for (let round = 0; round < options.rounds; round++) {
      process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
      for (const regime of regimes) {
        await inRegime(workspace, regime, async () => {
          for (const cell of CELLS) {
            for (const peer of rotate(peers, round).filter((each) => isInCell(each, cell))) {
              const sample = await runner.ping(cell, peer);
              samples.add({ scenario: cellName(cell), regime, peer }, sample);
            }
          }
        });
      }
    }
  } finally {
    await workspace.close();
  }
  return {
    rows: samples.rows(),
    ratios: computeFig3Ratios(samples),
    figures: {},
    targets: FIG3_TARGETS,
    notes: [
      `CPU time of both processes is counted by ${workspace.cpu.source}, their start included`,
      "spin: each process on a core of its own, and sockets asked without blocking; else where the scheduler puts them",
      "by loan: the message is made and looked at in shared memory; by copy: in the program's own buffers, as with sockets",
      "TypeScript: sockets by events, and channels in the same way where it says asynchronous; by copy and by loan with calls that wait (publishSync, takeIntoSync, loanSync)",
      "lock-based channels have the default size; lock-free ones for messages over 16 kB have 16 blocks of a message each, so that one may be lent",
      "the cost of a copy is what by copy has more than by loan; the scanner's period does not show, since who needs room scans by itself",
    ],
  };
}

interface Setting {
  readonly program: string;
  readonly agent: ChannelAgent;
  readonly isQuick: boolean;
}

interface Figures {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  readonly perSecond: number;
  readonly operations: number;
  readonly published?: number;
  readonly taken?: number;
}

class Runner {
  readonly #workspace: Workspace;
  readonly #setting: Setting;
  #topics = 0;

  constructor(workspace: Workspace, setting: Setting) {
    this.#workspace = workspace;
    this.#setting = setting;
  }

  async ping(cell: Cell, peer: Peer): Promise<Sample> {
    const { program, agent, isQuick } = this.#setting;
    const topic = `t${this.#topics++}`;
    const [transport = "", moving = "copy"] = peer.split("_");
    const count = COUNTS[cell.language][isQuick ? "quick" : "full"];
    const role = this.#workspace.cpu.role("ping");
    const before = role.usageMicros();
    const text = await this.#workspace.run({
      name: `${cellName(cell)} ${peer}`,
      role,
      argv: [
        ...(cell.language === "ts" ? [process.execPath, TS_PROGRAM] : [program]),
        ...["--transport", transport, "--moving", moving, "--waiting", cell.waiting],
        ...["--size", String(cell.size), "--count", String(count)],
        ...["--warmup", String(count / 10)],
        ...["--sockets", agent.sockets.join(","), "--topic", topic],
      ],
    });
    const figures = JSON.parse(text) as Figures;
    const { p50Us, p99Us, p999Us, maxUs, perSecond, operations } = figures;
    if (transport.startsWith("lock")) {
      requireOurs(figures);
      await agent.forget([`${topic}-there`, `${topic}-back`]);
    }
    const cpuUs = (role.usageMicros() - before) / operations;
    return { p50Us, p99Us, p999Us, maxUs, perSecond, cpuUs };
  }
}

/** Without this many messages on the channels' own counters it was something else that was fast. */
function requireOurs({ operations, published, taken }: Figures): void {
  if (published === operations && taken === operations) return;
  throw new Error(`${operations} round trips, but ${published} published and ${taken} taken`);
}
