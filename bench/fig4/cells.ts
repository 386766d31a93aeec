// The sizes and peers of the fig4 bench, and its keys.
import type { Target } from "../lib/result.ts";
import type { Samples } from "../lib/rounds.ts";
import type { Spread } from "../lib/stats.ts";

/** Brokers that messages go through. */
export const BROKERS = ["rabbitmq", "redis", "nats"] as const;

/** One of {@link BROKERS}. */
export type Broker = (typeof BROKERS)[number];

const OURS = ["lock_copy", "lock_loan", "lockfree_copy", "lockfree_loan"] as const;

/** Who carries the messages. */
export const PEERS = [...BROKERS, "tcp", ...OURS] as const;

/** One of {@link PEERS}. */
export type Peer = (typeof PEERS)[number];

/** Bytes of a message, as in the paper: 1 kB to 10 MB. */
export const SIZES = {
  full: [1000, 10_000, 65_000, 1_000_000, 10_000_000],
  quick: [1000, 30_000, 1_000_000, 10_000_000],
} as const;
const SMALL_BELOW = 100_000;
const LARGE_FROM = 1_000_000;
const LARGEST = 10_000_000;

/** Name of a size's scenario. */
export function sizeName(size: number): string {
  return size < 1e6 ? `${size / 1000} kB` : `${size / 1e6} MB`;
}

interface Fig4Key extends Target {
  readonly ours: readonly Peer[];
  readonly theirs: Broker;
  readonly isAbout: (size: number) => boolean;
}

const COPIES = ["lock_copy", "lockfree_copy"] as const;
const LOANS = ["lock_loan", "lockfree_loan"] as const;

const against = (theirs: Broker, bounds: readonly (number | "reported")[]): readonly Fig4Key[] => {
  const [small = "reported", large = "reported", largest = "reported"] = bounds;
  return [
    {
      key: `small_worst_vs_${theirs}_speedup`,
      title: `median round trip below 100 kB, ${theirs} over Shimmy: worst size, channel and way of moving`,
      bound: small,
      ours: OURS,
      theirs,
      isAbout: (size) => size < SMALL_BELOW,
    },
    {
      key: `large_worst_vs_${theirs}_speedup`,
      title: `median round trip from 1 MB, ${theirs} over Shimmy: worst size, channel and way of moving`,
      bound: large,
      ours: OURS,
      theirs,
      isAbout: (size) => size >= LARGE_FROM,
    },
    {
      key: `loan_10mb_vs_${theirs}_speedup`,
      title: `median round trip of 10 MB by loan, ${theirs} over Shimmy: worse channel`,
      bound: largest,
      ours: LOANS,
      theirs,
      isAbout: (size) => size === LARGEST,
    },
  ];
};

const KEYS: readonly Fig4Key[] = [
  ...against("rabbitmq", [10, 20, 100]),
  {
    key: "large_loan_worst_vs_rabbitmq_speedup",
    title: "median round trip from 1 MB by loan, rabbitmq over Shimmy: worst size and channel",
    bound: "reported",
    ours: LOANS,
    theirs: "rabbitmq",
    isAbout: (size) => size >= LARGE_FROM,
  },
  {
    key: "large_copy_worst_vs_rabbitmq_speedup",
    title: "median round trip from 1 MB by copy, rabbitmq over Shimmy: worst size and channel",
    bound: "reported",
    ours: COPIES,
    theirs: "rabbitmq",
    isAbout: (size) => size >= LARGE_FROM,
  },
  ...against("redis", []),
  ...against("nats", []),
];

/** The table of targets. */
export const FIG4_TARGETS: readonly Target[] = KEYS.map(({ key, title, bound }) => ({
  key,
  title,
  bound,
}));

/** Ratios of the idle regime, each that of the worst of its cells. */
export function computeFig4Ratios(
  samples: Samples,
  sizes: readonly number[],
): Readonly<Record<string, Spread>> {
  const found: Record<string, Spread> = {};
  for (const { key, ours, theirs, isAbout } of KEYS) {
    const ratios = sizes
      .filter(isAbout)
      .flatMap((size) =>
        ours.map((peer) =>
          samples.ratio({ scenario: sizeName(size), regime: "idle" }, "p50Us", [theirs, peer]),
        ),
      );
    const known = ratios.filter((ratio) => ratio !== undefined);
    const [worst] = known.toSorted((one, other) => one.value - other.value);
    // The worst of some is not the worst of all.
    if (worst !== undefined && known.length === ratios.length) found[key] = worst;
  }
  return found;
}
