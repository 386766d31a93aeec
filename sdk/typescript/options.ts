import { ShimmyError } from "../../common/errors.ts";
import type { NativeEndpointOptions } from "../../shm-core/lib/native.ts";
import type { WaitMode } from "../../shm-core/lib/stream-waits.ts";

/** What every channel is made with. All of it is fixed for the life of the channel. */
interface CommonParameters {
  /** Blocks of a ring: 2 to 65,536. A message takes as many as it needs. @defaultValue 64 */
  readonly blocks?: number;
  /** Bytes of a block: 64 to 1,048,576, a multiple of 64. @defaultValue 4096 */
  readonly blockBytes?: number;
  /** Messages that one side may hold in place at once: 1 to 16. @defaultValue 8 */
  readonly maxLoans?: number;
}

/** Parameters of a lock-based channel: each message is read exactly once, by one consumer. */
export interface LockParameters extends CommonParameters {
  readonly kind?: "lock";
}

/** Parameters of a lock-free channel: each message is read by every subscriber. */
export interface LockFreeParameters extends CommonParameters {
  readonly kind?: "lockfree";
  /** A message stays until so many have read it, or its time is over. @defaultValue 1 */
  readonly readers?: number;
  /** What was not read may be overwritten after this time, in ms. @defaultValue 1000 */
  readonly timeToLiveMs?: number;
}

/** Options of every endpoint. */
export interface EndpointOptions<Parameters extends LockParameters | LockFreeParameters> {
  /** Makes the channel with these if there is none; without them it has to exist. */
  readonly parameters?: Parameters;
  /**
   * How calls wait.
   *
   * - `adaptive`: looks for work for a moment when that paid before, then sleeps. Asynchronous calls
   *   do so only while nobody else waits on this thread, as they hold up its event loop.
   * - `sleep`: sleeps at once; least CPU.
   * - `spin`: synchronous calls never sleep; least latency, one CPU each. Asynchronous calls wait as
   *   in `adaptive`, because the event loop must go on.
   *
   * @defaultValue "adaptive"
   */
  readonly waitMode?: WaitMode;
}

/** Options of a subscriber. */
export interface SubscriberOptions extends EndpointOptions<LockFreeParameters> {
  /**
   * Where to begin in what is there already: at the oldest message that was not overwritten, or
   * behind the newest.
   *
   * @defaultValue "newest"
   */
  readonly start?: "oldest" | "newest";
}

/** A role. */
export type Role = "producer" | "consumer" | "publisher" | "subscriber";

type AnyParameters = LockParameters & Omit<LockFreeParameters, "kind">;
type AnyOptions = EndpointOptions<LockParameters | LockFreeParameters> &
  Pick<SubscriberOptions, "start">;

// Same numbers as in sdk/c/include/shimmy.h.
const ROLES = { producer: 1, consumer: 2, publisher: 3, subscriber: 4 } as const;
const KINDS = { lock: 1, lockfree: 2 } as const;
const STARTS = { newest: 0, oldest: 1 } as const;
const WAIT_MODES = { adaptive: 0, spin: 1, sleep: 2 } as const;

/** The kind of channel that a role is one of. */
const KIND_OF = {
  producer: "lock",
  consumer: "lock",
  publisher: "lockfree",
  subscriber: "lockfree",
} as const;

/** Both bounds of each number; a test compares them with the agent's. */
export const PARAMETER_BOUNDS = {
  blocks: { minimum: 2, maximum: 65_536 },
  blockBytes: { minimum: 64, maximum: 1_048_576, multipleOf: 64 },
  readers: { minimum: 1, maximum: 1024 },
  timeToLiveMs: { minimum: 1, maximum: 86_400_000 },
  // The agent's minimum is 0, which the C interface takes for "as usual".
  maxLoans: { minimum: 1, maximum: 16 },
} as const;

const LOCK_NAMES = ["kind", "blocks", "blockBytes", "maxLoans"] as const;
const LOCK_FREE_NAMES = [...LOCK_NAMES, "readers", "timeToLiveMs"] as const;

/**
 * Checks options and translates them.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` that names what is refused.
 */
export function resolveEndpointOptions(role: Role, options: AnyOptions): NativeEndpointOptions {
  const { parameters, waitMode = "adaptive", start = "newest", ...rest } = options;
  refuseUnknown(Object.keys(rest), [], "option");
  if (options.start !== undefined && role !== "subscriber") {
    throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "start is for subscribers only");
  }
  return {
    role: ROLES[role],
    start: chosen(STARTS, start, "start"),
    waitMode: chosen(WAIT_MODES, waitMode, "waitMode"),
    ...resolveParameters(KIND_OF[role], parameters as AnyParameters | undefined),
  };
}

function resolveParameters(
  kind: keyof typeof KINDS,
  parameters: AnyParameters | undefined,
): Omit<NativeEndpointOptions, "role" | "start" | "waitMode"> {
  if (parameters !== undefined) {
    if (parameters.kind !== undefined && parameters.kind !== kind) {
      throw new ShimmyError(
        "SHIMMY_ERR_CHANNEL_MISMATCH",
        `this role is one of a channel of kind "${kind}", not "${parameters.kind}"`,
      );
    }
    const names = kind === "lock" ? LOCK_NAMES : LOCK_FREE_NAMES;
    refuseUnknown(Object.keys(parameters), names, "parameter");
  }
  const given = parameters ?? {};
  return {
    kind: parameters === undefined ? 0 : KINDS[kind],
    blocks: count(given, "blocks"),
    blockBytes: count(given, "blockBytes"),
    readers: count(given, "readers"),
    timeToLiveMs: count(given, "timeToLiveMs"),
    maxLoans: count(given, "maxLoans"),
  };
}

function refuseUnknown(given: readonly string[], known: readonly string[], what: string): void {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", `unknown ${what} "${unknown}"`);
}

function chosen<T extends Readonly<Record<string, number>>>(
  values: T,
  name: keyof T & string,
  what: string,
): number {
  const value = Object.hasOwn(values, name) ? values[name] : undefined;
  if (value !== undefined) return value;
  throw new ShimmyError(
    "SHIMMY_ERR_INVALID_OPTION",
    `${what} must be one of ${Object.keys(values).join(", ")}, got "${name}"`,
  );
}

/** A number that is given; 0 is the default. */
function count(given: Partial<AnyParameters>, name: keyof typeof PARAMETER_BOUNDS): number {
  const value = given[name];
  if (value === undefined) return 0;
  const bounds: { minimum: number; maximum: number; multipleOf?: number } = PARAMETER_BOUNDS[name];
  const { minimum, maximum, multipleOf = 1 } = bounds;
  const isInRange = Number.isInteger(value) && value >= minimum && value <= maximum;
  if (isInRange && value % multipleOf === 0) return value;
  throw new ShimmyError(
    "SHIMMY_ERR_INVALID_OPTION",
    `${name} must be from ${minimum} to ${maximum} and a multiple of ${multipleOf}, got ${value}`,
  );
}
