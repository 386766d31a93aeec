// How many pods can one core admit, and how long does each wait?
//
// The injector of dist/ on one core, asked over TLS from the other; each pod is 50 KiB of JSON.
// Its own counter says that every pod was given a sidecar.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { FakeApiServer } from "../test/helpers/fake-api-server.ts";
import { CONNECTIONS, FIGURES, OFFERED_PER_SECOND, POD_BYTES } from "./injector/keys.ts";
import type { Bench, Outcome } from "./lib/bench.ts";
import type { BenchOptions } from "./lib/options.ts";
import { inRegime } from "./lib/regime.ts";
import type { Regime } from "./lib/result.ts";
import { type Sample, Samples, type SeriesKey } from "./lib/rounds.ts";
import { spread } from "./lib/stats.ts";
import { type Daemon, Workspace } from "./lib/workspace.ts";

const HERE = import.meta.dirname;
const DIST = join(HERE, "../dist/cli/main.js");
const SECONDS = { full: 10, quick: 3 } as const;
const WARM_UP_SECONDS = 3;
const [INJECTOR_CORE, LOAD_CORE] = ["0", "1"];
const REGIMES: readonly Regime[] = ["idle", "busy"];
const LOADS = ["closed", "open"] as const;

type Load = (typeof LOADS)[number];

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "injector", run };

async function run(options: BenchOptions): Promise<Outcome> {
  if (!existsSync(DIST)) throw new Error("dist/ is not there: run `npm run build` first");
  const samples = new Samples();
  for (let round = 0; round < options.rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
    await runRound(SECONDS[options.isQuick ? "quick" : "full"], samples);
  }
  const figure = (load: Load, metric: string): [number, ...number[]] => {
    const [first = Number.NaN, ...rest] = samples.values(keyOf(load, "idle"), metric) ?? [];
    return [first, ...rest];
  };
  return {
    rows: samples.rows(),
    ratios: {},
    figures: {
      requests_per_second: spread(figure("closed", "perSecond")),
      p99_ms: spread(figure("open", "p99Ms")),
    },
    targets: FIGURES,
    notes: [
      `pods of ${POD_BYTES} bytes; the injector on core ${INJECTOR_CORE}, the load on core ${LOAD_CORE}, ${CONNECTIONS} connections of TLS 1.3 and HTTP/1.1`,
      `open loop: latencies count from the time when a question was due, ${OFFERED_PER_SECOND} a second`,
    ],
  };
}

function keyOf(load: Load, regime: Regime): SeriesKey {
  const scenario = load === "closed" ? "as many as it can" : `${OFFERED_PER_SECOND} per second`;
  return { scenario, regime, peer: "shimmy" };
}

async function runRound(seconds: number, samples: Samples): Promise<void> {
  const workspace = new Workspace();
  const api = await FakeApiServer.start();
  try {
    const injector = await Injector.start(workspace, api);
    await injector.ask("closed", WARM_UP_SECONDS);
    for (const regime of REGIMES) {
      for (const load of LOADS) {
        const sample = await inRegime(workspace, regime, () => injector.ask(load, seconds));
        samples.add(keyOf(load, regime), sample);
      }
    }
  } finally {
    await workspace.close();
    await api.close();
  }
}

/** An injector with settings and a certificate of its own. */
class Injector {
  readonly #workspace: Workspace;
  readonly #port: number;

  private constructor(workspace: Workspace, port: number) {
    this.#workspace = workspace;
    this.#port = port;
  }

  static async start(workspace: Workspace, api: FakeApiServer): Promise<Injector> {
    const [tls, config] = [workspace.path("tls"), workspace.path("config")];
    for (const path of [tls, config]) mkdirSync(path);
    writeFileSync(join(config, "image"), "images.example/shimmy:1");
    makeCertificate(tls);
    const kubeconfig = workspace.path("kubeconfig");
    writeFileSync(kubeconfig, kubeconfigFor(api.access.server));
    const flags = ["--port", "0", "--tls-dir", tls, "--cluster-config-dir", config];
    const program = [process.execPath, DIST, "injector", ...flags, "--kubeconfig", kubeconfig];
    const daemon = workspace.start({
      name: "injector",
      role: workspace.cpu.role("injector"),
      argv: ["taskset", "-c", INJECTOR_CORE, ...program],
      env: { SHIMMY_LOG_LEVEL: "info" },
    });
    let port: number | undefined;
    await workspace.waitUntil(daemon, "the injector to start", () => {
      port = portOf(daemon);
      return Promise.resolve(port !== undefined);
    });
    return new Injector(workspace, port ?? 0);
  }

  /** Runs a load; CPU time is the injector's alone. */
  async ask(load: Load, seconds: number): Promise<Sample> {
    const role = this.#workspace.cpu.role("injector");
    const [injectedBefore, cpuBefore] = [await this.#injected(), role.usageMicros()];
    const program = [process.execPath, join(HERE, "injector/load.ts"), String(this.#port)];
    const text = await this.#workspace.run({
      name: "load",
      argv: ["taskset", "-c", LOAD_CORE, ...program, this.#ca, load, String(seconds)],
    });
    const { requests, ...sample } = JSON.parse(text) as Sample & { requests: number };
    const cpuUs = (role.usageMicros() - cpuBefore) / requests;
    const injected = (await this.#injected()) - injectedBefore;
    if (injected !== requests) throw new Error(`${injected} of ${requests} pods were injected`);
    return { ...sample, cpuUs };
  }

  get #ca(): string {
    return this.#workspace.path("tls/tls.crt");
  }

  async #injected(): Promise<number> {
    const host = `shimmy-injector:${this.#port}`;
    const argv = ["curl", "-sf", "--cacert", this.#ca, "--resolve", `${host}:127.0.0.1`];
    const text = await this.#workspace.run({
      name: "curl",
      argv: [...argv, `https://${host}/metrics`],
    });
    const line = /^shimmy_injector_admissions_total\{outcome="injected",reason=""\} (?<n>\d+)$/m;
    return Number(line.exec(text)?.groups?.["n"] ?? 0);
  }
}

function portOf({ logPath }: Daemon): number | undefined {
  const line = readFileSync(logPath, "utf8")
    .split("\n")
    .find((each) => each.includes("injector started"));
  return line === undefined ? undefined : (JSON.parse(line) as { port: number }).port;
}

/** As the master makes them: P-256. */
function makeCertificate(folder: string): void {
  const words =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x " +
    "-addext subjectAltName=DNS:shimmy-injector";
  const output = ["-keyout", join(folder, "tls.key"), "-out", join(folder, "tls.crt")];
  execFileSync("openssl", [...words.split(" "), ...output], { stdio: "pipe" });
}

function kubeconfigFor(server: string): string {
  return JSON.stringify({
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user: { token: "t" } }],
  });
}
