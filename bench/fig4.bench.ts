// How much sooner does a message over a channel get an answer than one through a broker? The paper's
// Figure 4.
//
// Two Node processes, 100 round trips of each size from 1 kB to 10 MB. Every peer is driven by the
// same TypeScript, with promises; messages are made before the clock starts, and every byte of what
// comes is looked at. Nothing is kept on disk, nothing confirmed.
import { join } from "node:path";
import type { Bench, Outcome } from "./lib/bench.ts";
import { type ChannelAgent, startChannelAgent } from "./lib/channel-agent.ts";
import type { BenchOptions } from "./lib/options.ts";
import { inRegime } from "./lib/regime.ts";
import type { Regime } from "./lib/result.ts";
import { rotate, type Sample, Samples } from "./lib/rounds.ts";
import { Workspace } from "./lib/workspace.ts";
import { type BrokerPorts, describeBrokers, startBrokers } from "./fig4/brokers.ts";
import {
  type Broker,
  computeFig4Ratios,
  FIG4_TARGETS,
  type Peer,
  PEERS,
  SIZES,
  sizeName,
} from "./fig4/cells.ts";

const COUNTS = { full: 100, quick: 30 } as const;
const PROGRAM = join(import.meta.dirname, "fig4/ts-ping.ts");

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "fig4", run };

async function run(options: BenchOptions): Promise<Outcome> {
  const workspace = new Workspace();
  const samples = new Samples();
  const peers = PEERS.filter((peer) => options.only?.includes(peer) ?? true);
  const sizes = SIZES[options.isQuick ? "quick" : "full"];
  const regimes: readonly Regime[] = options.isQuick ? ["idle"] : ["idle", "busy"];
  try {
    const agent = await startChannelAgent(workspace);
    const ports = await startBrokers(workspace, peers);
    const runner = new Runner(workspace, { agent, ports, isQuick: options.isQuick });
    for (let round = 0; round < options.rounds; round++) {
      process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
      const cells = sizes.flatMap((size) => rotate(peers, round).map((peer) => ({ size, peer })));
      for (const regime of regimes) {
        await inRegime(workspace, regime, async () => {
          for (const { size, peer } of cells) {
            const key = { scenario: sizeName(size), regime, peer };
            samples.add(key, await runner.ping(size, peer));
          }
        });
      }
    }
  } finally {
    await workspace.close();
  }
  return {
    rows: samples.rows(),
    ratios: computeFig4Ratios(samples, sizes),
    figures: {},
    targets: FIG4_TARGETS,
    notes: [
      describeBrokers(),
      `CPU time of both processes and of the broker, their start included, is counted by ${workspace.cpu.source}`,
      "messages are made before the clock starts: in the program's own buffer, or by loan in the channel's memory",
      "brokers: queues and subjects in memory, neither acknowledged nor confirmed; clients amqplib, redis and @nats-io/transport-node",
      "channels: the TypeScript SDK's asynchronous calls (publish, takeInto, reserve, loan), waiting as by default",
    ],
  };
}

interface Setting {
  readonly agent: ChannelAgent;
  readonly ports: BrokerPorts;
  readonly isQuick: boolean;
}

interface Figures {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
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

  async ping(size: number, peer: Peer): Promise<Sample> {
    const { agent, ports, isQuick } = this.#setting;
    const [transport = "", moving = "copy"] = peer.split("_");
    const topic = `t${this.#topics++}`;
    const count = COUNTS[isQuick ? "quick" : "full"];
    const ends = this.#workspace.cpu.role("ends");
    const broker = this.#workspace.cpu.role("broker");
    const usage = (): number => ends.usageMicros() + broker.usageMicros();
    const before = { all: usage(), broker: broker.usageMicros() };
    const text = await this.#workspace.run({
      name: `${sizeName(size)} ${peer}`,
      role: ends,
      argv: [
        ...[process.execPath, PROGRAM, "--transport", transport, "--moving", moving],
        ...["--size", String(size), "--count", String(count), "--warmup", String(count / 10)],
        ...["--port", String(ports.get(peer as Broker) ?? 0)],
        ...["--sockets", agent.sockets.join(","), "--topic", topic],
      ],
    });
    const figures = JSON.parse(text) as Figures;
    const { p50Us, p99Us, maxUs, operations } = figures;
    if (transport.startsWith("lock")) {
      requireOurs(figures);
      await agent.forget([`${topic}-there`, `${topic}-back`]);
    }
    return {
      p50Us,
      p99Us,
      maxUs,
      cpuUs: (usage() - before.all) / operations,
      proxyCpuUs: (broker.usageMicros() - before.broker) / operations,
    };
  }
}

/** Without this many messages on the channels' own counters it was something else that was fast. */
function requireOurs({ operations, published, taken }: Figures): void {
  if (published === operations && taken === operations) return;
  throw new Error(`${operations} round trips, but ${published} published and ${taken} taken`);
}
