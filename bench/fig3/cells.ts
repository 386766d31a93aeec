// The cells of the fig3 bench: language, way of waiting and size; and its keys.
import type { Target } from "../lib/result.ts";
import type { Samples } from "../lib/rounds.ts";
import type { Spread } from "../lib/stats.ts";

/** Who drives both ends. */
export type Language = "native" | "ts";

/** How both ends wait. */
export type Waiting = "default" | "spin" | "sleep";

/** Who carries the messages. */
export const PEERS = [
  "tcp",
  "udp",
  "unix",
  "lock_copy",
  "lock_loan",
  "lockfree_copy",
  "lockfree_loan",
  "lock_async",
  "lockfree_async",
] as const;

/** One of {@link PEERS}. */
export type Peer = (typeof PEERS)[number];

/** Who plays in a cell: there are asynchronous calls in TypeScript only. */
export function isInCell(peer: Peer, { language }: Cell): boolean {
  return language === "ts" || !peer.endsWith("_async");
}

/** One way of playing ping-pong. */
export interface Cell {
  readonly language: Language;
  readonly waiting: Waiting;
  readonly size: number;
}

/** Bytes of a message, as in the paper: 100 B to 65,000 B. */
export const SIZES = [100, 1000, 4000, 10_000, 30_000, 65_000] as const;
const SMALL_UP_TO = 10_000;
const LARGE = 65_000;
const SMALLEST = 100;

/** Every cell: TypeScript's sockets are driven by events, which neither spin nor are made to sleep. */
export const CELLS: readonly Cell[] = [
  ...SIZES.map((size) => ({ language: "native", waiting: "default", size }) as const),
  ...[SMALLEST, SMALL_UP_TO, LARGE].flatMap((size) =>
    (["spin", "sleep"] as const).map((waiting) => ({ language: "native", waiting, size }) as const),
  ),
  ...[SMALLEST, 1000, SMALL_UP_TO, LARGE].map(
    (size) => ({ language: "ts", waiting: "default", size }) as const,
  ),
];

/** Name of a cell's scenario. */
export function cellName({ language, waiting, size }: Cell): string {
  return `${language} ${waiting} ${size} B`;
}

interface Fig3Key extends Target {
  readonly cells: readonly Cell[];
  readonly ours: Peer;
  readonly theirs: Peer;
}

const KINDS = ["lock", "lockfree"] as const;
const OTHERS = ["tcp", "udp"] as const;

const KEYS: readonly Fig3Key[] = KINDS.flatMap((kind) =>
  OTHERS.flatMap((other) => [
    key(kind, other, { label: "loan_worst", moving: "loan", waiting: "default", bound: 4 }),
    key(kind, other, {
      label: "copy_10kb",
      moving: "copy",
      waiting: "default",
      bound: 3,
      is: (size) => size <= SMALL_UP_TO,
    }),
    key(kind, other, {
      label: "copy_65kb",
      moving: "copy",
      waiting: "default",
      bound: 2,
      is: (size) => size === LARGE,
    }),
    key(kind, other, {
      label: "spin_100b",
      moving: "copy",
      waiting: "spin",
      bound: 10,
      is: (size) => size === SMALLEST,
    }),
    key(kind, other, {
      label: "ts_async_worst",
      moving: "async",
      waiting: "default",
      language: "ts",
      bound: "reported",
    }),
  ]),
);

const WORST: Target = {
  key: "worst_vs_tcp_speedup",
  title: "median round trip, TCP over Shimmy, in the worst cell of any mode and size",
  bound: 1,
};

/** The table of targets. */
export const FIG3_TARGETS: readonly Target[] = [...KEYS, WORST].map(
  ({ key: name, title, bound }) => ({ key: name, title, bound }),
);

/** Ratios of the idle regime, each that of the worst of its cells. */
export function computeFig3Ratios(samples: Samples): Readonly<Record<string, Spread>> {
  const found: Record<string, Spread> = {};
  for (const { key: name, cells, ours, theirs } of KEYS) {
    const worst = worstOf(samples, cells, [theirs, ours]);
    if (worst !== undefined) found[name] = worst;
  }
  const all = PEERS.filter((peer) => peer.startsWith("lock")).map((ours) =>
    worstOf(
      samples,
      CELLS.filter((cell) => isInCell(ours, cell)),
      ["tcp", ours],
    ),
  );
  const [worst] = all
    .filter((each) => each !== undefined)
    .toSorted((one, other) => one.value - other.value);
  if (worst !== undefined && !all.includes(undefined)) found[WORST.key] = worst;
  return found;
}

/** Undefined unless every cell was measured: the worst of some is not the worst of all. */
function worstOf(
  samples: Samples,
  cells: readonly Cell[],
  peers: readonly [Peer, Peer],
): Spread | undefined {
  const ratios = cells.map((cell) =>
    samples.ratio({ scenario: cellName(cell), regime: "idle" }, "p50Us", peers),
  );
  if (ratios.includes(undefined)) return undefined;
  return ratios
    .filter((each) => each !== undefined)
    .toSorted((one, other) => one.value - other.value)[0];
}

interface KeyOptions {
  readonly label: string;
  readonly moving: "copy" | "loan" | "async";
  readonly waiting: Waiting;
  readonly language?: Language;
  readonly bound: number | "reported";
  /** Which sizes it is about. @defaultValue all */
  readonly is?: (size: number) => boolean;
}

function key(
  kind: (typeof KINDS)[number],
  other: (typeof OTHERS)[number],
  of: KeyOptions,
): Fig3Key {
  const { label, moving, waiting, language = "native", bound, is = () => true } = of;
  const cells = CELLS.filter(
    (cell) => cell.language === language && cell.waiting === waiting && is(cell.size),
  );
  const sizes = cells.length === 1 ? `of ${cells[0]?.size} B` : `up to ${cells.at(-1)?.size} B`;
  return {
    key: `${kind}_${label}_vs_${other}_speedup`,
    title: `median round trip ${sizes}, ${language}, ${kind === "lock" ? "lock-based" : "lock-free"}, by ${moving}, waiting ${waiting}: ${other.toUpperCase()} over Shimmy${cells.length === 1 ? "" : ", worst size"}`,
    bound,
    cells,
    ours: `${kind}_${moving}`,
    theirs: other,
  };
}
