// The promises of the sidecar path, and how each is computed.
import { KEY_SCENARIOS } from "./scenarios.ts";
import type { Regime, Target } from "../lib/result.ts";
import type { Samples } from "../lib/rounds.ts";
import type { Spread } from "../lib/stats.ts";

/** A ratio of two peers' figures in one scenario. */
export interface RatioKey extends Target {
  readonly scenario: string;
  readonly regime: Regime;
  readonly metric: string;
  readonly of: string;
  readonly over: string;
}

/** Every ratio of the bench. */
export const RATIOS: readonly RatioKey[] = [
  rate("rps_c32_vs_haproxy_speedup", "haproxy", 1.6),
  rate("rps_c32_vs_envoy_tcp_speedup", "envoy_tcp", 2.5),
  rate("rps_c32_vs_envoy_http_speedup", "envoy_http", 7),
  rate("rps_c32_vs_direct_speedup", "direct", "reported"),
  latency("p50_c1_idle_vs_haproxy_cost", "haproxy", "idle", 0.6),
  latency("p50_c1_idle_vs_direct_cost", "direct", "idle", 1.1),
  latency("p50_c1_busy_vs_direct_cost", "direct", "busy", "reported"),
  {
    key: "bandwidth_1mb_vs_haproxy_speedup",
    title: "bytes/s of 1 MB bodies at c=4, against the HAProxy pair",
    bound: 1.25,
    scenario: KEY_SCENARIOS.bandwidth,
    regime: "idle",
    metric: "perSecond",
    of: "shimmy",
    over: "haproxy",
  },
  {
    key: "connections_vs_envoy_tcp_speedup",
    title: "new connections/s, against the Envoy TCP pair",
    bound: 1.0,
    scenario: KEY_SCENARIOS.connections,
    regime: "idle",
    metric: "perSecond",
    of: "shimmy",
    over: "envoy_tcp",
  },
  cpu("cpu_per_request_c32_vs_haproxy_cost", { c: 32, of: "shimmy", bound: 0.7 }),
  cpu("cpu_per_request_c1_vs_haproxy_cost", { c: 1, of: "shimmy", bound: 1.5 }),
  cpu("cpu_per_request_c1_nospin_vs_haproxy_cost", { c: 1, of: "shimmy_nospin", bound: 1.0 }),
];

/** Every absolute figure of the bench; measured by idle.ts. */
export const FIGURES = [
  figure("idle_1000_rings_mib", "memfd pages of 1,000 idle connections, both sidecars, MiB", 64),
  figure("idle_rss_mib", "resident memory of a sidecar without traffic, MiB", 90),
  figure("idle_anon_mib", "of that anonymous, MiB", 30),
  figure("idle_1000_anon_mib", "anonymous growth of both sidecars by 1,000 idle connections, MiB"),
  figure("idle_1000_tcp_mib", "data queued in TCP sockets by them, whole machine, MiB"),
  figure(
    "idle_1000_socket_slab_mib",
    "kernel slabs of sockets, files and epoll by them, whole machine, MiB",
  ),
  figure(
    "idle_1000_cpu_ms_per_s",
    "CPU of agent and both sidecars while 1,000 connections idle, ms/s",
  ),
] as const;

/** Ratios that can be computed: both peers ran, and Shimmy's counters prove its path. */
export function computeRatios(samples: Samples): Readonly<Record<string, Spread>> {
  const found: Record<string, Spread> = {};
  for (const { key, scenario, regime, metric, of, over } of RATIOS) {
    const ratio = samples.ratio({ scenario, regime }, metric, [of, over]);
    if (ratio !== undefined) found[key] = ratio;
  }
  return found;
}

function rate(key: string, over: string, bound: Target["bound"]): RatioKey {
  const title = `requests/s at c=32, against ${describe(over)}`;
  const { throughput: scenario } = KEY_SCENARIOS;
  return { key, title, bound, scenario, regime: "idle", metric: "perSecond", of: "shimmy", over };
}

function latency(key: string, over: string, regime: Regime, bound: Target["bound"]): RatioKey {
  const title = `median latency at c=1, ${regime} machine, against ${describe(over)}`;
  const { latency: scenario } = KEY_SCENARIOS;
  return { key, title, bound, scenario, regime, metric: "p50Us", of: "shimmy", over };
}

function cpu(key: string, { c, of, bound }: { c: 1 | 32; of: string; bound: number }): RatioKey {
  const spin = of === "shimmy" ? "" : ", spin off";
  const title = `CPU of all processes per request at c=${c}${spin}, against the HAProxy pair`;
  const scenario = c === 1 ? KEY_SCENARIOS.latency : KEY_SCENARIOS.throughput;
  return { key, title, bound, scenario, regime: "idle", metric: "cpuUs", of, over: "haproxy" };
}

function figure(key: string, title: string, bound: Target["bound"] = "reported"): Target {
  return { key, title, bound };
}

function describe(peer: string): string {
  const names: Readonly<Record<string, string>> = {
    direct: "direct TCP",
    haproxy: "the HAProxy pair",
    envoy_tcp: "the Envoy TCP pair",
    envoy_http: "the Envoy HTTP pair",
  };
  return names[peer] ?? peer;
}
