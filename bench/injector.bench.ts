// How many pods can one core admit, and how long does each wait?
//
// The injector of dist/ on one core, asked over TLS from the other as an API server asks; each pod is
// 50 KiB of JSON. Its own counter says that every pod was given a sidecar.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { FakeApiServer } from "../test/helpers/fake-api-server.ts";
import { FIGURES, LATENCY_BOUND_MS, OFFERED_PER_SECOND, POD_BYTES } from "./injector/keys.ts";
import { makeReview, UID_PLACE } from "./injector/review.ts";
import { highestRate } from "./injector/search.ts";
import type { Bench, Outcome } from "./lib/bench.ts";
import { buildGo } from "./lib/go.ts";
import type { BenchOptions } from "./lib/options.ts";
import { inRegime } from "./lib/regime.ts";
import type { Regime } from "./lib/result.ts";
import { type Sample, Samples, type SeriesKey } from "./lib/rounds.ts";
import { spread } from "./lib/stats.ts";
import { type Daemon, Workspace } from "./lib/workspace.ts";

const DIST = join(import.meta.dirname, "../dist/cli/main.js");
const SECONDS = { full: 8, quick: 3 } as const;
const SEARCH_SECONDS = { full: 4, quick: 2 } as const;
const SEARCH_STEPS = 6;
/** Until the compiler has seen all of it: some 8,000 pods. */
const WARM_UP_SECONDS = 6;
/** Of the rate asked for, so that a backlog that grows is not taken for one that is borne. */
const ANSWERED_SHARE = 0.97;
const [INJECTOR_CORE, LOAD_CORE] = ["0", "1"];
const REGIMES: readonly Regime[] = ["idle", "busy"];
const AS_MANY_AS_IT_CAN = "as many as it can, one after another";
const FIXED = `${OFFERED_PER_SECOND} per second at fixed times`;
const HIGHEST = `at fixed times, as many as leave the 99th percentile under ${LATENCY_BOUND_MS} ms`;

/** The bench, as bench/run.ts finds it. */
export const bench: Bench = { name: "injector", run };

async function run(options: BenchOptions): Promise<Outcome> {
  if (!existsSync(DIST)) throw new Error("dist/ is not there: run `npm run build` first");
  const samples = new Samples();
  for (let round = 0; round < options.rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
    await runRound(options.isQuick ? "quick" : "full", samples);
  }
  const figure = (scenario: string, metric: string): [number, ...number[]] => {
    const [first = Number.NaN, ...rest] = samples.values(keyOf(scenario, "idle"), metric) ?? [];
    return [first, ...rest];
  };
  return {
    rows: samples.rows(),
    ratios: {},
    figures: {
      requests_per_second: spread(figure(HIGHEST, "perSecond")),
      p99_ms: spread(figure(FIXED, "p99Ms")),
    },
    targets: FIGURES,
    notes: [
      `pods of ${POD_BYTES} bytes; the injector on core ${INJECTOR_CORE}, the load on core ${LOAD_CORE}`,
      "asked with the library of API servers (Go) and as they do, whatever a webhook offers: TLS 1.3 and HTTP/1.1, up to 200 questions at a time, each on a connection, of which 25 are kept",
      "at fixed times: latencies count from the time when a question was due",
    ],
  };
}

function keyOf(scenario: string, regime: Regime): SeriesKey {
  return { scenario, regime, peer: "shimmy" };
}

async function runRound(length: "quick" | "full", samples: Samples): Promise<void> {
  const workspace = new Workspace();
  const api = await FakeApiServer.start();
  const seconds = SECONDS[length];
  try {
    const injector = await Injector.start(workspace, api);
    await injector.ask(0, WARM_UP_SECONDS);
    for (const regime of REGIMES) {
      await inRegime(workspace, regime, async () => {
        samples.add(keyOf(AS_MANY_AS_IT_CAN, regime), await injector.ask(0, seconds));
        samples.add(keyOf(FIXED, regime), await injector.ask(OFFERED_PER_SECOND, seconds));
      });
    }
    const above = samples.values(keyOf(AS_MANY_AS_IT_CAN, "idle"), "perSecond")?.at(-1) ?? 0;
    samples.add(keyOf(HIGHEST, "idle"), await search(injector, above, SEARCH_SECONDS[length]));
  } finally {
    await workspace.close();
    await api.close();
  }
}

/** @throws Error when no rate that was tried is borne. */
async function search(injector: Injector, above: number, seconds: number): Promise<Sample> {
  const found = await highestRate<Sample>({
    above,
    steps: SEARCH_STEPS,
    ask: (rate) => injector.ask(rate, seconds),
    isBorne: ({ p99Ms = Infinity, perSecond = 0 }, rate) =>
      p99Ms < LATENCY_BOUND_MS && perSecond >= ANSWERED_SHARE * rate,
  });
  if (found === undefined) throw new Error(`no rate below ${above} is borne`);
  return found;
}

/** An injector with settings and a certificate of its own. */
class Injector {
  readonly #workspace: Workspace;
  readonly #port: number;
  /** Path of the program that asks. */
  readonly #load: string;

  private constructor(workspace: Workspace, port: number, load: string) {
    this.#workspace = workspace;
    this.#port = port;
    this.#load = load;
  }

  static async start(workspace: Workspace, api: FakeApiServer): Promise<Injector> {
    const load = buildGo("bench/injector/load", "bench-injector-load");
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
    writeFileSync(workspace.path("review.json"), makeReview());
    return new Injector(workspace, port ?? 0, load);
  }

  /** Runs a load; a rate of 0 is as many as it can. CPU time is per pod. */
  async ask(rate: number, seconds: number): Promise<Sample> {
    const role = this.#workspace.cpu.role("injector");
    const loadRole = this.#workspace.cpu.role("load");
    const injectedBefore = await this.#injected();
    const [cpuBefore, loadBefore] = [role.usageMicros(), loadRole.usageMicros()];
    const program = [
      this.#load,
      ...["--port", String(this.#port), "--ca", this.#ca],
      ...["--review", this.#workspace.path("review.json"), "--place", UID_PLACE],
      ...["--rate", String(rate), "--duration", `${seconds}s`],
    ];
    const text = await this.#workspace.run({
      name: "load",
      role: loadRole,
      argv: ["taskset", "-c", LOAD_CORE, ...program],
    });
    const { requests, ...sample } = JSON.parse(text) as Sample & { requests: number };
    const injectorCpuUs = (role.usageMicros() - cpuBefore) / requests;
    const loadCpuUs = (loadRole.usageMicros() - loadBefore) / requests;
    const injected = (await this.#injected()) - injectedBefore;
    if (injected !== requests) throw new Error(`${injected} of ${requests} pods were injected`);
    return { ...sample, injectorCpuUs, loadCpuUs };
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
