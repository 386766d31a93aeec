// Where Shimmy loses: the targets it misses and the peers that beat it, so that they are published
// beside the rest.
import { type BenchResult, judge, type Row } from "../lib/result.ts";
import { isOurs } from "./charts.ts";
import { peerLabel } from "./labels.ts";
import { formatShort } from "./svg.ts";

/** The metrics that are compared, and whether more is better. */
const COMPARED = [
  { metric: "perSecond", name: "per second", isMoreBetter: true },
  { metric: "p50Us", name: "µs at p50", isMoreBetter: false },
  { metric: "setPerSecond", name: "SET/s", isMoreBetter: true },
  { metric: "getPerSecond", name: "GET/s", isMoreBetter: true },
] as const;

/** Peers that stand for Shimmy as shipped; variants (spin off) are compared by the reader. */
const SHIPPED: readonly string[] = ["shimmy", "ring", "lock_copy"];

/** One sentence for each target missed. */
export function listMissedTargets(result: BenchResult): readonly string[] {
  return result.targets
    .filter((target) => judge(target, result) === "FAIL")
    .map(({ key, title }) => `\`${key}\`: ${title}.`);
}

/** One sentence for each scenario in which somebody else's median is better than Shimmy's. */
export function listLosses({ rows }: BenchResult): readonly string[] {
  const scenarios = Map.groupBy(rows, ({ scenario, regime }) => `${scenario}, ${regime}`);
  return [...scenarios].flatMap(([scenario, members]) => {
    const ours = members.find(({ peer }) => SHIPPED.includes(peer));
    if (ours === undefined) return [];
    return COMPARED.flatMap(({ metric, name, isMoreBetter }) => {
      const value = ours.metrics[metric]?.value;
      if (value === undefined || isRateOfLatency(ours, metric)) return [];
      const better = members.flatMap(({ peer, metrics }) => {
        const other = metrics[metric]?.value;
        const isBetter = other !== undefined && (isMoreBetter ? other > value : other < value);
        return isOurs(peer) || !isBetter ? [] : [`${peerLabel(peer)} ${formatShort(other)}`];
      });
      if (better.length === 0) return [];
      return [`${scenario}: Shimmy ${formatShort(value)} ${name}, ${better.join(", ")}.`];
    });
  });
}

// A closed loop's rate is its latency told again, and an open loop's is the schedule's.
function isRateOfLatency({ metrics }: Row, metric: string): boolean {
  return metric === "perSecond" && metrics["p50Us"] !== undefined;
}
