/**
 * Stable codes of every error Shimmy reports, in messages, logs and REST replies.
 *
 * Each has a section in docs/reference/errors.md; a test keeps the two lists equal.
 */
export const ERROR_CODES = [
  "SHIMMY_ERR_ADDRESS_IN_USE",
  "SHIMMY_ERR_ADDRESS_NOT_AVAILABLE",
  "SHIMMY_ERR_AGENT_UNAVAILABLE",
  "SHIMMY_ERR_BAD_REGION",
  "SHIMMY_ERR_CATALOG_INVALID",
  "SHIMMY_ERR_CHANNEL_EXISTS",
  "SHIMMY_ERR_CHANNEL_IN_USE",
  "SHIMMY_ERR_CHANNEL_MISMATCH",
  "SHIMMY_ERR_CLOSED",
  "SHIMMY_ERR_INTERNAL",
  "SHIMMY_ERR_INVALID_CONFIG",
  "SHIMMY_ERR_INVALID_OPTION",
  "SHIMMY_ERR_KUBERNETES_API",
  "SHIMMY_ERR_LIMIT",
  "SHIMMY_ERR_MESSAGE_TOO_BIG",
  "SHIMMY_ERR_METHOD_NOT_ALLOWED",
  "SHIMMY_ERR_NATIVE_MISSING",
  "SHIMMY_ERR_NOT_ATTESTED",
  "SHIMMY_ERR_NOT_FOUND",
  "SHIMMY_ERR_NOT_MOVABLE",
  "SHIMMY_ERR_NO_MEMORY",
  "SHIMMY_ERR_PEER_DIED",
  "SHIMMY_ERR_PROTOCOL",
  "SHIMMY_ERR_RATE_LIMITED",
  "SHIMMY_ERR_REGISTRY_RECORD",
  "SHIMMY_ERR_REGISTRY_UNAVAILABLE",
  "SHIMMY_ERR_RUNTIME_DIR",
  "SHIMMY_ERR_SLOW_READER",
  "SHIMMY_ERR_SOCKET_SQUATTED",
  "SHIMMY_ERR_STREAM_BROKEN",
  "SHIMMY_ERR_STREAM_RESET",
  "SHIMMY_ERR_SUPERSEDED",
  "SHIMMY_ERR_SYSTEM",
  "SHIMMY_ERR_TIMEOUT",
  "SHIMMY_ERR_TOPIC_DENIED",
  "SHIMMY_ERR_VERSION_MISMATCH",
] as const;

/** One of {@link ERROR_CODES}. */
export type ShimmyErrorCode = (typeof ERROR_CODES)[number];

/** Every error Shimmy throws. Match on `code`; the message may change in any release. */
export class ShimmyError extends Error {
  override readonly name = "ShimmyError";
  readonly code: ShimmyErrorCode;

  constructor(code: ShimmyErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Turns anything caught into a {@link ShimmyError}.
 *
 * @returns The value itself when it is one already, else one of `code` with the value as its cause.
 */
export function toShimmyError(
  err: unknown,
  code: ShimmyErrorCode = "SHIMMY_ERR_INTERNAL",
): ShimmyError {
  if (err instanceof ShimmyError) return err;
  return new ShimmyError(code, messageOf(err), { cause: err });
}

/** The message of anything thrown; what is not an `Error` is converted to text. */
export function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
