import { describeCommit, describeMachine } from "./machine.ts";
import type { BenchOptions } from "./options.ts";
import type { BenchResult } from "./result.ts";

/** What a bench measured; {@link finish} adds what all results have. */
export type Outcome = Pick<BenchResult, "rows" | "ratios" | "figures" | "targets" | "notes">;

/** A bench: one question. `bench/NAME.bench.ts` exports one as `bench`. */
export interface Bench {
  readonly name: string;
  /** Runs all rounds. */
  run(options: BenchOptions): Promise<Outcome>;
}

/** Runs a bench and describes where and when it ran. */
export async function finish(bench: Bench, options: BenchOptions): Promise<BenchResult> {
  const startedAt = new Date().toISOString();
  const commit = describeCommit();
  const outcome = await bench.run(options);
  return {
    bench: bench.name,
    machine: describeMachine(),
    commit,
    quick: options.isQuick,
    rounds: options.rounds,
    startedAt,
    ...outcome,
  };
}
