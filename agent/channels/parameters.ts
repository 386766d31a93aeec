import { Ajv, type ErrorObject } from "ajv";

import { ShimmyError } from "../../common/errors.ts";

/**
 * Kinds of channel.
 *
 *   lock      each message is read exactly once, by one consumer
 *   lockfree  each message is read by every subscriber
 */
export const CHANNEL_KINDS = ["lock", "lockfree"] as const;

/** One of {@link CHANNEL_KINDS}. */
export type ChannelKind = (typeof CHANNEL_KINDS)[number];

/** What a channel is made with. All of it is fixed for the life of the channel. */
export interface ChannelParameters {
  readonly kind: ChannelKind;
  /** Blocks of a ring: 2 to 65,536. */
  readonly blocks: number;
  /** Bytes of a block: 64 to 1,048,576, a multiple of 64. */
  readonly blockBytes: number;
  /** Lock-free: a message stays until so many have read it, or its time is over. */
  readonly readers: number;
  /** Lock-free: what was not read may be overwritten after this time. Of a lock-based one 0. */
  readonly timeToLiveMs: number;
  /** Messages that one side may hold in place at once; beyond it, `take` copies. */
  readonly maxLoans: number;
}

/** Some of {@link ChannelParameters}; the rest have their defaults. */
export type ChannelRequest = Pick<ChannelParameters, "kind"> & Partial<ChannelParameters>;

/** Both bounds of each number. docs/reference/agent-api.openapi.yaml has them; a test keeps it so. */
export const PARAMETER_BOUNDS = {
  blocks: { minimum: 2, maximum: 65_536 },
  blockBytes: { minimum: 64, maximum: 1_048_576, multipleOf: 64 },
  readers: { minimum: 1, maximum: 1024 },
  timeToLiveMs: { minimum: 1, maximum: 86_400_000 },
  maxLoans: { minimum: 0, maximum: 16 },
} as const;

/** Largest data region of a channel, in bytes. */
export const MAX_CHANNEL_BYTES = 1024 ** 3;

const DEFAULTS = {
  blocks: 64,
  blockBytes: 4096,
  maxLoans: 8,
} as const;
const LOCKFREE_DEFAULTS = { ...DEFAULTS, readers: 1, timeToLiveMs: 1000 } as const;
const LOCK_DEFAULTS = { ...DEFAULTS, readers: 1, timeToLiveMs: 0 } as const;

/** JSON schemas of the parameters that may be given, by name. */
export const PARAMETER_SCHEMAS = {
  kind: { enum: CHANNEL_KINDS },
  blocks: { type: "integer", ...PARAMETER_BOUNDS.blocks },
  blockBytes: { type: "integer", ...PARAMETER_BOUNDS.blockBytes },
  readers: { type: "integer", ...PARAMETER_BOUNDS.readers },
  timeToLiveMs: { type: "integer", ...PARAMETER_BOUNDS.timeToLiveMs },
  maxLoans: { type: "integer", ...PARAMETER_BOUNDS.maxLoans },
} as const;

const validate = new Ajv().compile<ChannelRequest>({
  type: "object",
  properties: PARAMETER_SCHEMAS,
  required: ["kind"],
  additionalProperties: false,
});

/**
 * Checks parameters and fills in what is not given.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` that names the parameter refused.
 */
export function resolveParameters(request: unknown): ChannelParameters {
  const problem = parametersProblem(request);
  if (problem !== undefined) throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", problem);
  const given = request as ChannelRequest;
  return { ...(given.kind === "lock" ? LOCK_DEFAULTS : LOCKFREE_DEFAULTS), ...given };
}

/** Says in a few words what is wrong with parameters that somebody asks for, if anything is. */
export function parametersProblem(request: unknown): string | undefined {
  if (!validate(request)) return explain(validate.errors?.[0]);
  const { kind, blocks = DEFAULTS.blocks, blockBytes = DEFAULTS.blockBytes } = request;
  if (blocks * blockBytes > MAX_CHANNEL_BYTES) {
    return `a channel has at most 1 GiB: ${blocks} blocks of ${blockBytes} bytes are more`;
  }
  const isForLockFree = request.readers !== undefined || request.timeToLiveMs !== undefined;
  return kind === "lock" && isForLockFree
    ? "readers and timeToLiveMs are for lockfree channels only"
    : undefined;
}

function explain(error: ErrorObject | undefined): string {
  const { additionalProperty: extra } = (error?.params ?? {}) as { additionalProperty?: string };
  if (extra !== undefined) return `unknown parameter ${JSON.stringify(extra.slice(0, 40))}`;
  const name = error?.instancePath.slice(1) ?? "";
  return `${name === "" ? "a channel" : name} ${error?.message ?? "is invalid"}`;
}

/** Whether two channels have the same parameters. */
export function haveSameParameters(one: ChannelParameters, other: ChannelParameters): boolean {
  return (Object.keys(LOCK_DEFAULTS) as (keyof ChannelParameters)[])
    .concat("kind")
    .every((name) => one[name] === other[name]);
}
