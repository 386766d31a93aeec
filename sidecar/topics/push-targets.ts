import { isIP } from "node:net";

import { ShimmyError } from "../../common/errors.ts";
import { MESSAGE_FORMATS, type MessageFormat } from "./render.ts";
import { qualifyTopic } from "./topic-path.ts";

/** A topic whose messages are sent to an application by POST. */
export interface PushTarget {
  /** `name` or `namespace/name`. */
  readonly topic: string;
  readonly url: string;
  readonly format: MessageFormat;
}

/**
 * Reads `topic=URL` entries, divided by commas or white space; `cloudevents:topic=URL` sends events.
 *
 * A URL leads to loopback, by a literal address or `localhost`, over plain HTTP: a pod must not be
 * talked into asking others.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names the entry refused.
 */
export function parsePushTargets(text: string): readonly PushTarget[] {
  return text
    .split(/[,\s]+/)
    .filter((entry) => entry !== "")
    .map(parseTarget);
}

function parseTarget(entry: string): PushTarget {
  const match = /^(?:(?<format>\w+):)?(?<topic>[^=:]+)=(?<url>.+)$/.exec(entry)?.groups;
  const format = MESSAGE_FORMATS.find((known) => known === (match?.["format"] ?? "raw"));
  const { topic = "", url = "" } = match ?? {};
  if (format === undefined || qualifyTopic(topic, "default") === undefined) {
    throw invalid(`expected TOPIC=URL or cloudevents:TOPIC=URL, got ${JSON.stringify(entry)}`);
  }
  return { topic, url: checkPushUrl(url), format };
}

/**
 * Checks where messages may be sent.
 *
 * @returns The URL as it is used.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` for every place but loopback.
 */
export function checkPushUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" || url.username !== "" || url.password !== "" || url.hash !== "") {
    throw invalid(`${JSON.stringify(text)} is not a plain http:// URL`);
  }
  if (!isLoopback(url.hostname)) {
    throw invalid(`${url.hostname} is not loopback: 127.0.0.0/8, [::1] and localhost are`);
  }
  return url.href;
}

function isLoopback(host: string): boolean {
  return (isIP(host) === 4 && host.startsWith("127.")) || host === "[::1]" || host === "localhost";
}

function invalid(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
