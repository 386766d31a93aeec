import type { Command } from "commander";
import { setTimeout as delay } from "node:timers/promises";

import { ExitCode, type Finish } from "./command.ts";
import { signalExitCode, StopRequest } from "./daemon.ts";
import { compare, comparisonTable, WORKLOADS, type Comparison } from "./demo/compare.ts";
import { callSome, callUntilShm, killServerSidecar, type Call } from "./demo/fallback.ts";
import { LiveTable } from "./demo/live-table.ts";
import { Scene, SERVER } from "./demo/scene.ts";
import { Workspace } from "./local/workspace.ts";
import { usesColours } from "./output.ts";
import { trafficTable } from "./traffic.ts";
import { ShimmyError } from "../common/errors.ts";

const HELP = `
Starts an agent, two sidecars and nginx; sends wrk's and curl's requests straight to nginx and
through the sidecars; kills a sidecar to show the fallback to TCP. It changes nothing on the machine
and leaves nothing behind. In a clone, \`npm run demo\` first installs and builds what is missing.

Example:
  $ shimmy demo --quick`;

/** `shimmy demo`. */
export function define(command: Command, finish: Finish): void {
  command
    .option("--quick", "fewer and shorter measurements: about five seconds")
    .addHelpText("after", HELP)
    .action(async (flags: { quick?: true }) => {
      finish(await demo(flags.quick === true));
    });
}

async function demo(isQuick: boolean): Promise<number> {
  using stop = new StopRequest();
  const startedMs = performance.now();
  const workspace = new Workspace();
  try {
    const shown = show(workspace, isQuick);
    shown.catch(() => undefined);
    const signal = await Promise.race([shown, stop.received]);
    if (signal !== undefined) {
      return signal === "SIGINT" ? ExitCode.interrupted : signalExitCode(signal);
    }
  } finally {
    await workspace.close();
  }
  const seconds = (performance.now() - startedMs) / 1000;
  say(
    "",
    `Everything is stopped and removed; that took ${seconds.toFixed(0)} s.`,
    "Now with programs of your own: npx shimmy run --help, and docs/guides/local.md.",
  );
  return ExitCode.ok;
}

async function show(workspace: Workspace, isQuick: boolean): Promise<undefined> {
  introduce();
  const scene = await Scene.open(workspace);
  explain(scene);
  await showComparison(scene, isQuick);
  await showFallback(scene, isQuick);
  return undefined;
}

function introduce(): void {
  say(
    "Shimmy carries TCP connections between services of one machine through shared memory.",
    "The services stay as they are: a small process beside each of them, its sidecar, does it.",
    "Starting an agent, two sidecars and nginx …",
  );
}

function explain({ shimmy, direct }: Scene): void {
  heading("What is running");
  say(
    `  wrk, curl ── TCP ── sidecar ══ shared memory ══ sidecar ── TCP ── nginx`,
    `              ${shimmy.padEnd(37)}${direct}`,
    "",
    "The agent only introduces the two sidecars to each other; it carries no traffic.",
  );
}

async function showComparison(scene: Scene, isQuick: boolean): Promise<void> {
  heading("The same requests with and without sidecars, and with TCP between the sidecars");
  const workloads = isQuick ? WORKLOADS.slice(0, 1) : WORKLOADS;
  const comparisons: Comparison[] = [];
  const live = new LiveTable(process.stdout);
  using ticker = new Ticker(250, async () => {
    live.update(trafficTable(await scene.traffic()));
  });
  for (const workload of workloads) {
    comparisons.push(await compare(scene, workload, isQuick ? 1 : 2));
  }
  await ticker.stop();
  requireCarried(comparisons);
  live.finish(trafficTable(await scene.traffic()));
  say(
    "",
    ...comparisonTable(comparisons),
    "",
    "Answers have 17 bytes where no size is given. NO SIDECARS is wrk straight to nginx. The others",
    "have two processes in between, as a mesh has: Shimmy's own sidecars, first with TCP between them,",
    "then with shared memory. CONNECTIONS is the sidecar's count of what carried SHIMMY's. A few",
    "seconds are a look, not a measurement: `npm run bench` measures, against Envoy and others too",
    "(docs/benchmarks.md).",
  );
}

/** A demo that quietly used TCP instead would prove nothing. */
function requireCarried(comparisons: readonly Comparison[]): void {
  const bad = comparisons.find(({ byShm, byTcp }) => byShm === 0 || byTcp > 0);
  if (bad === undefined) return;
  throw new ShimmyError(
    "SHIMMY_ERR_SYSTEM",
    `${bad.workload.title}: ${bad.byShm} connections by shared memory, ${bad.byTcp} by TCP; ` +
      "all were to be carried by shared memory",
  );
}

async function showFallback(scene: Scene, isQuick: boolean): Promise<void> {
  heading("And when shared memory is not to be had?");
  const count = isQuick ? 2 : 4;
  const tell = ({ status, way }: Call): void => {
    say(`  curl http://${scene.shimmy}/hello  ${status}  by ${way}`);
  };
  await callSome(scene, count, tell);
  await killServerSidecar(scene);
  say("  … nginx's sidecar is killed (kill -9) …");
  await callSome(scene, count, tell);
  await scene.mesh.startSidecar(SERVER);
  say("  … its sidecar is started again; shared memory is asked for again every second …");
  await callUntilShm(scene, tell);
  await callSome(scene, count, tell);
  say(
    "",
    "curl noticed nothing: without shared memory a connection goes to nginx over plain TCP, and the",
    "reason is counted (docs/reference/reasons.md has them all).",
  );
}

/** Does something again and again, one at a time. */
class Ticker implements Disposable {
  #isStopped = false;
  readonly #loop: Promise<void>;

  constructor(everyMs: number, tick: () => Promise<void>) {
    this.#loop = this.#run(everyMs, tick);
  }

  /** Resolves when the last one is done. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#loop;
  }

  [Symbol.dispose](): void {
    this.#isStopped = true;
  }

  async #run(everyMs: number, tick: () => Promise<void>): Promise<void> {
    while (!this.#isStopped) {
      await tick();
      await delay(everyMs, undefined, { ref: false });
    }
  }
}

function heading(text: string): void {
  say("", usesColours(process.stdout) ? `\u001B[1m${text}\u001B[0m` : text, "");
}

function say(...lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}
