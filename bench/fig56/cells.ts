// The cells of the fig56 bench: language and number of sessions; and its keys.
import type { Target } from "../lib/result.ts";
import type { Samples } from "../lib/rounds.ts";
import { pairedRatio, type Spread } from "../lib/stats.ts";

/** Who carries the messages. */
export const PEERS = ["tcp", "lock_copy", "lock_loan"] as const;

/** One of {@link PEERS}. */
export type Peer = (typeof PEERS)[number];

/** Who drives both ends. */
export type Language = "native" | "ts";

/** Parallel sessions, as in the paper. */
export const SESSIONS: Readonly<Record<Language, readonly number[]>> = {
  native: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
  ts: [1, 12],
};
/** Those that keys are about. */
export const QUICK_SESSIONS: Readonly<Record<Language, readonly number[]>> = {
  native: [1, 12],
  ts: [1, 12],
};

/** Name of a cell's scenario. */
export function cellName(language: Language, sessions: number): string {
  return `${language} ${sessions} sessions`;
}

interface Operand {
  readonly language: Language;
  readonly sessions: number;
  readonly peer: Peer;
}

interface Fig56Key extends Target {
  readonly metric: "cpuUs" | "sessionKib";
  readonly of: Operand;
  readonly over: Operand;
}

const key = (
  name: string,
  title: string,
  fields: Pick<Fig56Key, "bound" | "metric" | "of" | "over">,
): Fig56Key => ({ key: name, title, ...fields });

const native = (sessions: number, peer: Peer): Operand => ({ language: "native", sessions, peer });
const ts = (sessions: number, peer: Peer): Operand => ({ language: "ts", sessions, peer });

const KEYS: readonly Fig56Key[] = [
  key("cpu_12_sessions_vs_tcp_cost", "CPU time per message, 12 sessions, native, by copy", {
    bound: 0.4,
    metric: "cpuUs",
    of: native(12, "lock_copy"),
    over: native(12, "tcp"),
  }),
  key("cpu_12_vs_1_session_cost", "CPU time per message, native, by copy: 12 sessions over 1", {
    bound: 1.3,
    metric: "cpuUs",
    of: native(12, "lock_copy"),
    over: native(1, "lock_copy"),
  }),
  key("memory_per_session_vs_tcp_cost", "most memory per session, 12 sessions, native, by copy", {
    bound: 1,
    metric: "sessionKib",
    of: native(12, "lock_copy"),
    over: native(12, "tcp"),
  }),
  key("loan_cpu_12_sessions_vs_tcp_cost", "CPU time per message, 12 sessions, native, by loan", {
    bound: "reported",
    metric: "cpuUs",
    of: native(12, "lock_loan"),
    over: native(12, "tcp"),
  }),
  key(
    "loan_cpu_12_vs_1_session_cost",
    "CPU time per message, native, by loan: 12 sessions over 1",
    {
      bound: "reported",
      metric: "cpuUs",
      of: native(12, "lock_loan"),
      over: native(1, "lock_loan"),
    },
  ),
  key("ts_cpu_12_sessions_vs_tcp_cost", "CPU time per message, 12 sessions, TypeScript, by copy", {
    bound: "reported",
    metric: "cpuUs",
    of: ts(12, "lock_copy"),
    over: ts(12, "tcp"),
  }),
  key(
    "ts_cpu_12_vs_1_session_cost",
    "CPU time per message, TypeScript, by copy: 12 sessions over 1",
    {
      bound: "reported",
      metric: "cpuUs",
      of: ts(12, "lock_copy"),
      over: ts(1, "lock_copy"),
    },
  ),
];

/** The table of targets. */
export const FIG56_TARGETS: readonly Target[] = KEYS.map(({ key: name, title, bound }) => ({
  key: name,
  title,
  bound,
}));

/** Ratios, round by round. */
export function computeFig56Ratios(samples: Samples): Readonly<Record<string, Spread>> {
  const values = ({ language, sessions, peer }: Operand, metric: string) =>
    samples.values({ scenario: cellName(language, sessions), regime: "idle", peer }, metric);
  const found: Record<string, Spread> = {};
  for (const { key: name, metric, of, over } of KEYS) {
    const numerator = values(of, metric);
    const denominator = values(over, metric);
    if (numerator === undefined || denominator === undefined) continue;
    found[name] = pairedRatio(numerator, denominator);
  }
  return found;
}
