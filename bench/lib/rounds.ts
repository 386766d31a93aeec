// Rounds: every scenario is run by every peer before the next round begins, so that what the
// machine does meanwhile falls on all peers alike.
import type { Regime, Row } from "./result.ts";
import { pairedRatio, type Spread, spread } from "./stats.ts";

/** Figures of one peer in one scenario of one round. */
export type Sample = Readonly<Record<string, number>>;

/** Names the series of a scenario: what was run, in which regime, by whom. */
export interface SeriesKey {
  readonly scenario: string;
  readonly regime: Regime;
  readonly peer: string;
}

/** All samples of a run, in the order of the rounds. */
export class Samples {
  readonly #series = new Map<string, { key: SeriesKey; samples: Sample[] }>();
  readonly #refused = new Set<string>();

  /** Adds what one round gave. */
  add(key: SeriesKey, sample: Sample): void {
    const name = seriesName(key);
    const known = this.#series.get(name);
    if (known === undefined) this.#series.set(name, { key, samples: [sample] });
    else known.samples.push(sample);
  }

  /** Keeps a series out of all ratios: what it measured is not what its name says. */
  refuse(key: SeriesKey): void {
    this.#refused.add(seriesName(key));
  }

  /** A metric over the rounds; undefined when the peer did not run or does not have it. */
  values(key: SeriesKey, metric: string): readonly number[] | undefined {
    const values = this.#series.get(seriesName(key))?.samples.map((sample) => sample[metric]);
    const known = values?.filter((value) => value !== undefined);
    return known === undefined || known.length === 0 || known.length !== values?.length
      ? undefined
      : known;
  }

  /** Ratio of two peers' metrics, round by round; undefined when either did not run or is refused. */
  ratio(
    scenario: Omit<SeriesKey, "peer">,
    metric: string,
    [of, over]: RatioPeers,
  ): Spread | undefined {
    return this.ratioOver({ ...scenario, peer: of }, metric, { ...scenario, peer: over });
  }

  /** Ratio of two series' metric, round by round; undefined as {@link Samples.ratio} says. */
  ratioOver(of: SeriesKey, metric: string, over: SeriesKey): Spread | undefined {
    if ([of, over].some((key) => this.#refused.has(seriesName(key)))) return undefined;
    const numerator = this.values(of, metric);
    const denominator = this.values(over, metric);
    if (numerator === undefined || denominator === undefined) return undefined;
    return pairedRatio(numerator, denominator);
  }

  /** One row for each series. */
  rows(): readonly Row[] {
    return [...this.#series.values()].map(({ key, samples }) => {
      const names = Object.keys(samples[0] ?? {});
      const metrics = names.map((name) => {
        const values = samples.map((sample) => sample[name]).filter((value) => value !== undefined);
        return [name, spread(values)] as const;
      });
      return { ...key, metrics: Object.fromEntries(metrics) };
    });
  }
}

/** Whose figure is divided by whose. */
export type RatioPeers = readonly [of: string, over: string];

function seriesName({ scenario, regime, peer }: SeriesKey): string {
  return [scenario, regime, peer].join("|");
}

/** The peers in another order in every round, so that nobody always runs behind the same one. */
export function rotate<T>(items: readonly T[], round: number): readonly T[] {
  const start = items.length === 0 ? 0 : round % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
