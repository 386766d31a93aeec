/** Options for {@link highestRate}. */
export interface SearchOptions<T> {
  /** A rate that is surely too high. */
  readonly above: number;
  /** How often the interval is halved. */
  readonly steps: number;
  /** Asks at a rate. */
  readonly ask: (rate: number) => Promise<T>;
  readonly isBorne: (result: T, rate: number) => boolean;
}

/**
 * Searches by halving for the highest rate that is borne.
 *
 * @returns What was found at that rate; `undefined` when none of those tried was borne.
 */
export async function highestRate<T>({
  above,
  steps,
  ask,
  isBorne,
}: SearchOptions<T>): Promise<T | undefined> {
  let best: T | undefined;
  let [borne, tooHigh] = [0, above];
  for (let step = 0; step < steps; step++) {
    const rate = Math.round((borne + tooHigh) / 2);
    const result = await ask(rate);
    if (isBorne(result, rate)) {
      borne = rate;
      best = result;
    } else tooHigh = rate;
  }
  return best;
}
