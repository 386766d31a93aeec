/** How a check came out; `unknown` is what could not be checked. */
export const CHECK_STATUSES = ["ok", "warn", "fail", "unknown"] as const;

/** One of {@link CHECK_STATUSES}. */
export type CheckStatus = (typeof CHECK_STATUSES)[number];

/** One line of the report. */
export interface Finding {
  readonly status: CheckStatus;
  readonly message: string;
  /** What to do about it; every finding that is not `ok` has one. */
  readonly todo?: string;
}

/** What was found, and by which check. */
export interface CheckFinding extends Finding {
  readonly section: string;
  readonly check: string;
}

/** A finding that all is well. */
export function ok(message: string): Finding {
  return { status: "ok", message };
}

/** A finding that something is not as it should be, and works. */
export function warn(message: string, todo: string): Finding {
  return { status: "warn", message, todo };
}

/** A finding that something does not work. */
export function fail(message: string, todo: string): Finding {
  return { status: "fail", message, todo };
}

/** A finding that something could not be checked. */
export function unknown(message: string, todo: string): Finding {
  return { status: "unknown", message, todo };
}

/** Names for a message, not more than a few of them. */
export function someOf(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

/** `1 pod`, `2 pods`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
