// How much sooner does a stream over shared memory answer than a socket, between two processes
// that do nothing else?
//
// Each transport is driven in the same way from the same language: where the ring spins, the
// socket is polled without blocking; where it sleeps, the socket blocks. Readers copy out and
// touch every byte.
import { join } from "node:path";
import type { Bench, Outcome } from "./lib/bench.ts";
import { buildNative } from "./lib/native.ts";
import type { BenchOptions } from "./lib/options.ts";
import { inRegime } from "./lib/regime.ts";
import type { Regime } from "./lib/result.ts";
import { rotate, type Sample, Samples } from "./lib/rounds.ts";
import { Workspace } from "./lib/workspace.ts";
import { type Cell, CELLS, computeRingRatios, RING_TARGETS, type Transport } from "./ring/cells.ts";

const DURATION_MS = { full: 500, quick: 150 } as const;
const TRANSPORTS: readonly Transport[] = ["tcp", "ring", "unix"];
const TS_PROGRAM = join(import.meta.dirname, "ring/ts-ping.ts");

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "ring", run };

async function run(options: BenchOptions): Promise<Outcome> {
  const programs = { socket: buildNative("socket_ping"), ring: buildNative("ring_ping") };
  const workspace = new Workspace();
  const samples = new Samples();
  // No key needs Unix sockets or the busy regime.
  const regimes: readonly Regime[] = options.isQuick ? ["idle"] : ["idle", "busy"];
  const wanted = TRANSPORTS.filter((transport) => options.only?.includes(transport) ?? true);
  const transports = options.isQuick ? wanted.filter((transport) => transport !== "unix") : wanted;
  try {
    for (let round = 0; round < options.rounds; round++) {
      process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
      for (const regime of regimes) {
        await inRegime(workspace, regime, async () => {
          for (const cell of CELLS) {
            for (const transport of rotate(transports, round)) {
              const ping = { cell, transport, programs, isQuick: options.isQuick };
              const sample = await runPing(workspace, ping);
              samples.add({ scenario: cell.name, regime, peer: transport }, sample);
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
    ratios: computeRingRatios(samples),
    figures: {},
    targets: RING_TARGETS,
    notes: [
      `CPU time of both processes is counted by ${workspace.cpu.source}`,
      "spin: each process on a core of its own; default and sleep: where the scheduler puts them",
    ],
  };
}

interface Ping {
  readonly cell: Cell;
  readonly transport: Transport;
  readonly programs: { readonly socket: string; readonly ring: string };
  readonly isQuick: boolean;
}

interface PingFigures {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  readonly operations: number;
  readonly perSecond: number;
}

async function runPing(workspace: Workspace, ping: Ping): Promise<Sample> {
  const { cell, transport, isQuick } = ping;
  const role = workspace.cpu.role("ping");
  const before = role.usageMicros();
  const text = await workspace.run({
    name: `${cell.name} ${transport}`,
    role,
    argv: [
      ...pingCommand(ping),
      ...["--transport", transport, "--waiting", cell.waiting, "--size", String(cell.size)],
      ...["--duration-ms", String(DURATION_MS[isQuick ? "quick" : "full"])],
    ],
  });
  const figures = JSON.parse(text) as PingFigures;
  const { p50Us, p99Us, p999Us, maxUs, operations, perSecond } = figures;
  // Starting the processes is in it: tens of milliseconds for Node.
  const cpuUs = (role.usageMicros() - before) / operations;
  return { p50Us, p99Us, p999Us, maxUs, perSecond, cpuUs };
}

function pingCommand({ cell, transport, programs }: Ping): readonly string[] {
  if (cell.language === "ts") return [process.execPath, TS_PROGRAM];
  return [transport === "ring" ? programs.ring : programs.socket];
}
