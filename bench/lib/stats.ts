/** A figure over the rounds of a run. */
export interface Spread {
  /** The median. */
  readonly value: number;
  readonly min: number;
  readonly max: number;
}

/** Figures are kept to four significant digits: more would be noise. */
const SIGNIFICANT_DIGITS = 4;

/** The median of at least one number; of an even count, the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  if (upper === undefined) throw new RangeError("median of no values");
  const lower = sorted[middle - 1];
  return sorted.length % 2 === 1 || lower === undefined ? upper : (lower + upper) / 2;
}

/** Median, smallest and largest of at least one number. */
export function spread(values: readonly number[]): Spread {
  return {
    value: round(median(values)),
    min: round(Math.min(...values)),
    max: round(Math.max(...values)),
  };
}

/**
 * Ratios of two series, round by round, and their spread.
 *
 * Rounds are paired because a slow minute of the machine slows both peers of that round: the
 * ratio of the two is steadier than the ratio of two medians.
 */
export function pairedRatio(numerator: readonly number[], denominator: readonly number[]): Spread {
  if (numerator.length !== denominator.length) {
    throw new RangeError(
      `rounds differ: ${numerator.length} against ${denominator.length}; ratios are paired`,
    );
  }
  return spread(numerator.map((value, i) => value / (denominator[i] ?? NaN)));
}

function round(value: number): number {
  return Number(value.toPrecision(SIGNIFICANT_DIGITS));
}
