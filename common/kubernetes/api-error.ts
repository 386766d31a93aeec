import { ShimmyError } from "../errors.ts";

/** What the API server answered instead of what was asked for. */
export interface ApiFailure {
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** `reason` of the server's Status object, as `Expired` or `Conflict`. */
  readonly reason?: string;
  /** How long the server wants to be left alone. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** A request to the API server that failed: `SHIMMY_ERR_KUBERNETES_API`. */
export class ApiError extends ShimmyError {
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs: number;

  constructor(message: string, { status, reason = "", retryAfterMs = 0, cause }: ApiFailure) {
    super("SHIMMY_ERR_KUBERNETES_API", message, { cause });
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether a version is older than what the server remembers. */
  get isExpired(): boolean {
    return this.status === 410 || this.reason === "Expired" || this.reason === "Gone";
  }
}

/** Longest time for which a server's Retry-After is honoured. */
const MAX_RETRY_AFTER_MS = 60_000;

/** Makes the error of a Status object, as an answer or as an event of a watch. */
export function statusError(
  what: string,
  status: number,
  body: unknown,
  retryAfter?: string,
): ApiError {
  const { message, reason, details } = fields(body);
  const seconds = Number(retryAfter ?? fields(details)["retryAfterSeconds"]);
  const text = typeof message === "string" && message !== "" ? message.slice(0, 500) : "no message";
  return new ApiError(`${what}: ${status}: ${text}`, {
    status,
    reason: typeof reason === "string" ? reason : "",
    retryAfterMs: seconds > 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) : 0,
  });
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
