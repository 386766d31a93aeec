import { getSystemErrorName } from "node:util";
import { ShimmyError, type ShimmyErrorCode } from "../../common/errors.ts";

/** Negative results of native calls that are not `-errno`. Same numbers as `AddonStatus` in src/addon_status.h. */
export const Status = {
  closed: -5001,
  tooBig: -5002,
  tooManyFds: -5003,
  emptyMessage: -5004,
  queueFull: -5005,
  truncated: -5006,
  notConnected: -5007,
  notMovable: -5008,
  transferred: -5009,
} as const;

/** What the core says of a stream, minus 6000. Same numbers as `Status` in include/shimmy/status.h. */
export const CoreStatus = {
  ok: -6000,
  wouldBlock: -6001,
  eof: -6002,
  reset: -6003,
  peerDied: -6004,
  strayIo: -6005,
  cursorOutOfRange: -6006,
  badHalf: -6007,
  badReplace: -6008,
  noMemory: -6009,
  ended: -6010,
  notNow: -6011,
  internal: -6012,
  tooLarge: -6013,
  interrupted: -6014,
} as const;

/**
 * What calls of channels say, minus 7000. Same numbers as `enum shimmy_status` in
 * sdk/c/include/shimmy.h.
 */
export const ChannelStatus = {
  again: -7001,
  end: -7002,
  bufferTooSmall: -7003,
  messageTooBig: -7004,
  noLoan: -7005,
  misuse: -7006,
  interrupted: -7007,
  closed: -7008,
  refused: -7009,
  unavailable: -7010,
  noMemory: -7011,
  system: -7012,
} as const;

/** Below this a negative result is a {@link Status}; from here to -1 it is `-errno`. */
const LOWEST_ERRNO = -4095;

const STATUS_ERRORS: Readonly<Record<number, readonly [ShimmyErrorCode, string]>> = {
  [Status.closed]: ["SHIMMY_ERR_CLOSED", "already closed"],
  [Status.tooBig]: ["SHIMMY_ERR_MESSAGE_TOO_BIG", "message too big"],
  [Status.tooManyFds]: ["SHIMMY_ERR_LIMIT", "too many file descriptors in one message"],
  [Status.emptyMessage]: ["SHIMMY_ERR_PROTOCOL", "empty message"],
  [Status.queueFull]: ["SHIMMY_ERR_SLOW_READER", "the peer does not read, the send queue is full"],
  [Status.truncated]: ["SHIMMY_ERR_PROTOCOL", "the peer's message exceeds the limits"],
  [Status.notConnected]: ["SHIMMY_ERR_CLOSED", "the peer closed the socket"],
  [Status.notMovable]: ["SHIMMY_ERR_NOT_MOVABLE", "this end cannot be handed over now"],
  [Status.transferred]: [
    "SHIMMY_ERR_INVALID_OPTION",
    "the memory was transferred away, and stays out until the process ends",
  ],
  [CoreStatus.reset]: ["SHIMMY_ERR_STREAM_RESET", "the peer reset the stream or is closed"],
  [CoreStatus.peerDied]: ["SHIMMY_ERR_PEER_DIED", "the peer is gone without ending the stream"],
  [CoreStatus.strayIo]: ["SHIMMY_ERR_STREAM_BROKEN", "stray_io, a record no peer sends"],
  [CoreStatus.cursorOutOfRange]: ["SHIMMY_ERR_STREAM_BROKEN", "cursor_out_of_range"],
  [CoreStatus.badHalf]: ["SHIMMY_ERR_STREAM_BROKEN", "bad_half, the memory fails its checks"],
  [CoreStatus.badReplace]: ["SHIMMY_ERR_STREAM_BROKEN", "bad_replace"],
  [CoreStatus.noMemory]: ["SHIMMY_ERR_NO_MEMORY", "no memory for a ring"],
  [CoreStatus.ended]: ["SHIMMY_ERR_CLOSED", "this direction was ended"],
  [CoreStatus.tooLarge]: ["SHIMMY_ERR_MESSAGE_TOO_BIG", "larger than the channel or the buffer"],
};

const ERRNO_CODES: Readonly<Record<string, ShimmyErrorCode>> = {
  EADDRINUSE: "SHIMMY_ERR_ADDRESS_IN_USE",
  EADDRNOTAVAIL: "SHIMMY_ERR_ADDRESS_NOT_AVAILABLE",
};

/**
 * Turns a negative native result into the error to throw. Nothing else knows the mapping.
 *
 * For a failed system call `cause` is an `Error` whose `code` is the name of the errno.
 */
export function statusError(status: number, operation: string): ShimmyError {
  if (status < 0 && status >= LOWEST_ERRNO) return systemError(status, operation);
  const known = STATUS_ERRORS[status];
  if (known !== undefined) return new ShimmyError(known[0], `${operation}: ${known[1]}`);
  return new ShimmyError("SHIMMY_ERR_INTERNAL", `${operation}: unknown status ${status}`);
}

/** Returns a result that is not negative. @throws {@link ShimmyError} for one that is. */
export function checked(result: number, operation: string): number {
  if (result < 0) throw statusError(result, operation);
  return result;
}

/** The name of the errno behind an error from {@link statusError}, such as `"ETOOMANYREFS"`. */
export function errnoName(err: unknown): string | undefined {
  const cause = err instanceof ShimmyError ? err.cause : undefined;
  if (!(cause instanceof Error) || !("code" in cause)) return undefined;
  return typeof cause.code === "string" ? cause.code : undefined;
}

function systemError(status: number, operation: string): ShimmyError {
  const name = getSystemErrorName(status);
  const cause = Object.assign(new Error(`${operation}: ${name}`), { code: name, errno: status });
  return new ShimmyError(ERRNO_CODES[name] ?? "SHIMMY_ERR_SYSTEM", `${operation}: ${name}`, {
    cause,
  });
}
