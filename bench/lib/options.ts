import { parseArgs } from "node:util";

/** What a bench was asked for on the command line. */
export interface BenchOptions {
  /** Three rounds and short runs: all keys, under three minutes, never published. */
  readonly isQuick: boolean;
  readonly rounds: number;
  /** Write the result here as JSON. */
  readonly jsonPath: string | undefined;
  /** Run these peers only; ratios that need another one are left out. */
  readonly only: readonly string[] | undefined;
}

/** Fewest rounds of a full run. */
export const FULL_ROUNDS = 5;
const QUICK_ROUNDS = 3;

/** What `npm run bench` understands. */
export const USAGE = `usage: npm run bench -- NAME [--quick] [--rounds N] [--json FILE] [--only PEER…]`;

/**
 * Reads the command line of `npm run bench`.
 *
 * @throws Error when it cannot be understood.
 */
export function parseOptions(argv: readonly string[]): { name: string; options: BenchOptions } {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      json: { type: "string" },
      only: { type: "string", multiple: true },
    },
  });
  const [name, ...rest] = positionals;
  if (name === undefined) throw new Error(USAGE);
  // `--only a b` reads like `--only a,b`.
  if (rest.length > 0 && values.only === undefined)
    throw new Error(`unknown ${rest.join(" ")}\n${USAGE}`);
  const only = values.only?.concat(rest).flatMap((peers) => peers.split(","));
  const rounds = readRounds(values.rounds, values.quick);
  return { name, options: { isQuick: values.quick, rounds, jsonPath: values.json, only } };
}

function readRounds(text: string | undefined, isQuick: boolean): number {
  const usual = isQuick ? QUICK_ROUNDS : FULL_ROUNDS;
  if (text === undefined) return usual;
  const rounds = Number(text);
  const fewest = isQuick ? 1 : FULL_ROUNDS;
  if (Number.isInteger(rounds) && rounds >= fewest) return rounds;
  throw new Error(`--rounds must be an integer of at least ${fewest}, got ${text}`);
}
