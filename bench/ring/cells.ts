// The cells of the ring bench: language, way of waiting and message size; and its keys.
import type { Target } from "../lib/result.ts";
import type { Samples } from "../lib/rounds.ts";
import type { Spread } from "../lib/stats.ts";
import { type Waiting, WAITINGS } from "./ping-end.ts";

/** Who drives the ends: C++ on the core, or TypeScript on `shimmy`'s streams. */
export type Language = "native" | "ts";

/** What carries the bytes. */
export type Transport = "tcp" | "unix" | "ring";

/** One way of playing ping-pong. */
export interface Cell {
  readonly name: string;
  readonly language: Language;
  readonly waiting: Waiting;
  readonly size: number;
}

/** Sizes by the names that keys use. */
const SIZES = {
  "64b": 64,
  "100b": 100,
  "1kb": 1000,
  "10kb": 10_000,
  "65kb": 65_000,
  "1mb": 1_000_000,
} as const;

/** Every cell. */
export const CELLS: readonly Cell[] = (["native", "ts"] as const).flatMap((language) =>
  WAITINGS.flatMap((waiting) =>
    Object.entries(SIZES).map(([label, size]) => {
      return { name: cellName(language, waiting, label), language, waiting, size };
    }),
  ),
);

interface RingKey extends Target {
  readonly cell: string;
}

const KEYS: readonly RingKey[] = [
  ringKey({ language: "native", waiting: "default", label: "100b", bound: 3 }),
  ringKey({ language: "native", waiting: "default", label: "10kb", bound: 3 }),
  ringKey({ language: "native", waiting: "spin", label: "100b", bound: 10 }),
  ringKey({ language: "native", waiting: "spin", label: "10kb", bound: 5 }),
  ringKey({ language: "ts", waiting: "default", label: "100b", bound: 3 }),
  ringKey({ language: "ts", waiting: "spin", label: "100b", bound: 5 }),
];

const WORST: Target = {
  key: "worst_vs_tcp_speedup",
  title: "median round trip, TCP over ring, in the worst cell",
  bound: 1,
};

/** The table of targets. */
export const RING_TARGETS: readonly Target[] = [...KEYS, WORST].map(({ key, title, bound }) => {
  return { key, title, bound };
});

/** Ratios of the idle regime: TCP's median round trip over the ring's. */
export function computeRingRatios(samples: Samples): Readonly<Record<string, Spread>> {
  const byCell = new Map<string, Spread>();
  for (const { name } of CELLS) {
    const ratio = samples.ratio({ scenario: name, regime: "idle" }, "p50Us", ["tcp", "ring"]);
    if (ratio !== undefined) byCell.set(name, ratio);
  }
  const found: Record<string, Spread> = {};
  for (const { key, cell } of KEYS) {
    const ratio = byCell.get(cell);
    if (ratio !== undefined) found[key] = ratio;
  }
  const [worst] = [...byCell.values()].toSorted((a, b) => a.value - b.value);
  // The worst of some cells is not the worst of all.
  if (worst !== undefined && byCell.size === CELLS.length) found[WORST.key] = worst;
  return found;
}

interface KeyOptions {
  readonly language: Language;
  readonly waiting: Waiting;
  readonly label: keyof typeof SIZES;
  readonly bound: number;
}

function ringKey({ language, waiting, label, bound }: KeyOptions): RingKey {
  return {
    key: `${language}_${waiting}_${label}_vs_tcp_speedup`,
    title: `median round trip of ${SIZES[label]} bytes, ${language}, waiting ${waiting}: TCP over ring`,
    bound,
    cell: cellName(language, waiting, label),
  };
}

function cellName(language: Language, waiting: Waiting, label: string): string {
  return `${language} ${waiting} ${label}`;
}
