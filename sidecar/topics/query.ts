import { duration } from "../../common/env-parsers.ts";
import { ShimmyError, messageOf } from "../../common/errors.ts";
import { MESSAGE_FORMATS, type MessageFormat } from "./render.ts";
import type { ChannelKind } from "./transport.ts";

/** What a request may ask for behind `?`. */
export const QUERY_PARAMETERS = {
  get: ["from", "format", "max", "ack", "create"],
  post: ["timeout", "create"],
} as const;

const DEFAULT_TIMEOUT_MS = 1000;
const MAX_MESSAGES = 1_000_000;
const timeout = duration({ min: 0, max: 20_000 });

/** Of a `POST`. */
export interface PublishQuery {
  readonly timeoutMs: number;
  readonly create?: ChannelKind;
}

/** Of a `GET`. */
export interface SubscribeQuery {
  readonly from: string | null;
  readonly format: MessageFormat;
  readonly max: number;
  readonly isAcknowledged: boolean;
  readonly create?: ChannelKind;
}

/** @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` that names the parameter refused. */
export function parsePublishQuery(query: URLSearchParams): PublishQuery {
  refuseUnknown(query, QUERY_PARAMETERS.post);
  const text = query.get("timeout");
  return { timeoutMs: text === null ? DEFAULT_TIMEOUT_MS : timeoutOf(text), ...create(query) };
}

/** @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` that names the parameter refused. */
export function parseSubscribeQuery(query: URLSearchParams): SubscribeQuery {
  refuseUnknown(query, QUERY_PARAMETERS.get);
  return {
    from: query.get("from"),
    format: word(query, "format", MESSAGE_FORMATS) ?? "raw",
    max: maxOf(query.get("max")),
    isAcknowledged: word(query, "ack", ["true", "false"]) === "true",
    ...create(query),
  };
}

function create(query: URLSearchParams): { create?: ChannelKind } {
  const kind = word(query, "create", ["lock", "lockfree"]);
  return kind === undefined ? {} : { create: kind };
}

function word<const T extends string>(
  query: URLSearchParams,
  name: string,
  words: readonly T[],
): T | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const found = words.find((each) => each === text);
  if (found !== undefined) return found;
  throw invalid(`${name} must be one of ${words.join(", ")}, got ${shown(text)}`);
}

function timeoutOf(text: string): number {
  try {
    return timeout(text);
  } catch (err) {
    throw invalid(`timeout: ${messageOf(err)}`);
  }
}

function maxOf(text: string | null): number {
  if (text === null) return Infinity;
  const max = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (max >= 1 && max <= MAX_MESSAGES) return max;
  throw invalid(`max must be from 1 to ${MAX_MESSAGES}, got ${shown(text)}`);
}

function refuseUnknown(query: URLSearchParams, known: readonly string[]): void {
  for (const name of query.keys()) {
    if (!known.includes(name)) {
      throw invalid(`unknown parameter ${shown(name)}, there are ${known.join(", ")}`);
    }
    if (query.getAll(name).length > 1) throw invalid(`${name} is given twice`);
  }
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 40));
}

function invalid(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_OPTION", message);
}
