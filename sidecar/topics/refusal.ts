import { ShimmyError, toShimmyError, type ShimmyErrorCode } from "../../common/errors.ts";
import type { TopicHttpRefusal } from "../../common/reasons.ts";

const STATUS_BY_REASON: Readonly<Record<TopicHttpRefusal, number>> = {
  host: 403,
  origin: 403,
  path: 404,
  method: 405,
  content_type: 415,
  not_acceptable: 406,
  bad_request: 400,
  too_big: 413,
  limit: 503,
  denied: 403,
  unknown_topic: 404,
  full: 503,
  agent_away: 503,
  draining: 503,
  internal: 500,
};

const REASON_BY_CODE: ReadonlyMap<ShimmyErrorCode, TopicHttpRefusal> = new Map<
  ShimmyErrorCode,
  TopicHttpRefusal
>([
  ["SHIMMY_ERR_TOPIC_DENIED", "denied"],
  ["SHIMMY_ERR_NOT_FOUND", "unknown_topic"],
  ["SHIMMY_ERR_CHANNEL_MISMATCH", "bad_request"],
  ["SHIMMY_ERR_INVALID_OPTION", "bad_request"],
  ["SHIMMY_ERR_MESSAGE_TOO_BIG", "too_big"],
  ["SHIMMY_ERR_TIMEOUT", "full"],
  ["SHIMMY_ERR_LIMIT", "limit"],
  ["SHIMMY_ERR_RATE_LIMITED", "limit"],
  ["SHIMMY_ERR_NO_MEMORY", "limit"],
  ["SHIMMY_ERR_AGENT_UNAVAILABLE", "agent_away"],
  ["SHIMMY_ERR_REGISTRY_UNAVAILABLE", "agent_away"],
  ["SHIMMY_ERR_CLOSED", "draining"],
  // The channel was deleted, or made anew, while it was used: the next request finds the new one.
  ["SHIMMY_ERR_CHANNEL_IN_USE", "agent_away"],
  ["SHIMMY_ERR_NATIVE_MISSING", "internal"],
]);

/** A request that is refused, and the reason under which it is counted. */
export class TopicRefusal extends ShimmyError {
  readonly refusal: TopicHttpRefusal;

  constructor(refusal: TopicHttpRefusal, code: ShimmyErrorCode, message: string) {
    super(code, message);
    this.refusal = refusal;
  }

  /** What anything thrown while a request is answered is refused as. */
  static of(err: unknown): TopicRefusal {
    if (err instanceof TopicRefusal) return err;
    const error = toShimmyError(err);
    const reason = REASON_BY_CODE.get(error.code) ?? "internal";
    const refusal = new TopicRefusal(reason, error.code, error.message);
    refusal.cause = err;
    return refusal;
  }

  /** Status of the reply. */
  get status(): number {
    return STATUS_BY_REASON[this.refusal];
  }

  /** The body of the reply: problem details (RFC 9457). */
  get problem(): TopicProblem {
    const { cause, code, status, message: detail, refusal } = this;
    const topicReason = (cause as { reason?: unknown } | undefined)?.reason;
    return {
      type: "about:blank",
      title: TITLES[refusal],
      status,
      code,
      reason: typeof topicReason === "string" && topicReason !== "" ? topicReason : refusal,
      detail,
    };
  }
}

/** `application/problem+json`, as every refusal is answered. */
export interface TopicProblem {
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  readonly code: ShimmyErrorCode;
  /** Of {@link TOPIC_HTTP_REFUSALS}; when a role is refused the agent's topic reason. */
  readonly reason: string;
  readonly detail: string;
}

const TITLES: Readonly<Record<TopicHttpRefusal, string>> = {
  host: "Host is not local",
  origin: "Origin is not known",
  path: "No such path",
  method: "Method not allowed",
  content_type: "Content type refused",
  not_acceptable: "Not acceptable",
  bad_request: "Bad request",
  too_big: "Message too big",
  limit: "Limit reached",
  denied: "Role refused",
  unknown_topic: "No such topic",
  full: "Channel is full",
  agent_away: "Not available now",
  draining: "Sidecar is stopping",
  internal: "Internal error",
};
