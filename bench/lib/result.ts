import type { Machine } from "./machine.ts";
import type { Spread } from "./stats.ts";

/** Latency and rate on an otherwise idle machine, or with a nice-19 spinner on each core. */
export type Regime = "idle" | "busy";

/** What one peer did in one scenario, over all rounds. */
export interface Row {
  readonly scenario: string;
  readonly regime: Regime;
  readonly peer: string;
  readonly metrics: Readonly<Record<string, Spread>>;
}

/** One line of the table of targets. */
export interface Target {
  /** A key of `ratios` or `figures`. */
  readonly key: string;
  /** What it compares, in a few words. */
  readonly title: string;
  /** The bound, or `reported` where there is none. */
  readonly bound: number | "reported";
}

/** What a bench writes with `--json` and what docs/benchmarks.md is made from. */
export interface BenchResult {
  readonly bench: string;
  readonly machine: Machine;
  readonly commit: string;
  /** True when the run was shortened by `--quick`; such results are never published. */
  readonly quick: boolean;
  readonly rounds: number;
  readonly startedAt: string;
  readonly rows: readonly Row[];
  readonly ratios: Readonly<Record<string, Spread>>;
  readonly figures: Readonly<Record<string, Spread>>;
  readonly targets: readonly Target[];
  /** What a reader must know beside the figures: peers left out, how CPU was counted. */
  readonly notes: readonly string[];
}

/** How a key did against its bound. */
export type Verdict = "pass" | "FAIL" | "reported" | "not measured";

/** Judges a target by the median. Speed-ups and rates are better when larger. */
export function judge(target: Target, result: BenchResult): Verdict {
  const measured = result.ratios[target.key] ?? result.figures[target.key];
  if (measured === undefined) return "not measured";
  if (target.bound === "reported") return "reported";
  const isMet = isBetterLarger(target.key)
    ? measured.value >= target.bound
    : measured.value <= target.bound;
  return isMet ? "pass" : "FAIL";
}

/** The bound with its direction, as `>= 1.6`. */
export function describeBound({ key, bound }: Target): string {
  if (bound === "reported") return "reported";
  return `${isBetterLarger(key) ? "\u2265" : "\u2264"} ${bound}`;
}

function isBetterLarger(key: string): boolean {
  return key.endsWith("_speedup") || key.endsWith("_per_second");
}
