// The peers of the fig78 bench and its keys: what a transport takes beyond what the same work takes
// without one.
import type { Target } from "../lib/result.ts";
import type { Samples } from "../lib/rounds.ts";
import { pairedRatio, type Spread } from "../lib/stats.ts";

/** Who carries the frames; `none` is the work without a transport. */
export const PEERS = ["none", "tcp", "lock_copy", "lock_loan"] as const;

/** One of {@link PEERS}. */
export type Peer = (typeof PEERS)[number];

/** What is done with the frames. */
export const SCENARIOS = {
  codec: "decoded, sent, encoded: 240x160",
  replay: "replay without codec at 50x: 240x160",
  large: "replay without codec at 5x: 1920x1080",
} as const;

interface Fig78Key extends Target {
  readonly scenario: string;
  readonly metric: "cpuUs" | "memoryKib";
  readonly ours: Peer;
}

const KEYS: readonly Fig78Key[] = [
  {
    key: "cpu_added_vs_tcp_cost",
    title: "CPU time added to a frame of 240x160 at 50x, by loan",
    bound: 0.28,
    scenario: SCENARIOS.replay,
    metric: "cpuUs",
    ours: "lock_loan",
  },
  {
    key: "memory_added_vs_tcp_cost",
    title: "most memory added while 240x160 is decoded, sent and encoded, by loan",
    bound: 0.1,
    scenario: SCENARIOS.codec,
    metric: "memoryKib",
    ours: "lock_loan",
  },
  ...(["lock_copy", "lock_loan"] as const).flatMap((ours): readonly Fig78Key[] => [
    {
      key: `${ours}_cpu_added_1080p_vs_tcp_cost`,
      title: `CPU time added to a frame of 1920x1080 at 5x, ${ours}`,
      bound: "reported",
      scenario: SCENARIOS.large,
      metric: "cpuUs",
      ours,
    },
    {
      key: `${ours}_memory_added_1080p_vs_tcp_cost`,
      title: `most memory added with 1920x1080 at 5x, ${ours}`,
      bound: "reported",
      scenario: SCENARIOS.large,
      metric: "memoryKib",
      ours,
    },
    {
      key: `${ours}_memory_added_replay_vs_tcp_cost`,
      title: `most memory added with 240x160 at 50x, where the consumer is never behind, ${ours}`,
      bound: "reported",
      scenario: SCENARIOS.replay,
      metric: "memoryKib",
      ours,
    },
  ]),
  {
    key: "copy_cpu_added_vs_tcp_cost",
    title: "CPU time added to a frame of 240x160 at 50x, by copy",
    bound: "reported",
    scenario: SCENARIOS.replay,
    metric: "cpuUs",
    ours: "lock_copy",
  },
];

/** The table of targets. */
export const FIG78_TARGETS: readonly Target[] = KEYS.map(({ key, title, bound }) => ({
  key,
  title,
  bound,
}));

/** Ratios of what is added, round by round. */
export function computeFig78Ratios(samples: Samples): Readonly<Record<string, Spread>> {
  const found: Record<string, Spread> = {};
  for (const { key, scenario, metric, ours } of KEYS) {
    const added = (peer: Peer): readonly number[] | undefined => {
      const with_ = samples.values({ scenario, regime: "idle", peer }, metric);
      const without = samples.values({ scenario, regime: "idle", peer: "none" }, metric);
      return without === undefined
        ? undefined
        : with_?.map((value, round) => value - (without[round] ?? NaN));
    };
    const [numerator, denominator] = [added(ours), added("tcp")];
    if (numerator === undefined || denominator === undefined) continue;
    found[key] = pairedRatio(numerator, denominator);
  }
  return found;
}
