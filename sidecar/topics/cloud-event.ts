/**
 * CloudEvents 1.0 (https://github.com/cloudevents/spec). A message either is bytes, or is an event in
 * the specification's own JSON format: what comes in binary mode, in headers `ce-…`, is written in
 * that format, so that readers of every SDK can read it. Nobody guesses which of both a message is:
 * readers say that they want events (docs/adr, "HTTP headers travel as CloudEvents").
 */
import type { IncomingHttpHeaders } from "node:http";

import { ShimmyError } from "../../common/errors.ts";

/** Media type of an event in JSON. */
export const CLOUD_EVENT_TYPE = "application/cloudevents+json";

const REQUIRED = ["id", "source", "specversion", "type"] as const;
const MAX_VALUE = 4096;
const PREFIX = "ce-";

/**
 * The message that a request's body stands for.
 *
 * @param type - The body's media type, as `requireContentType()` gives it.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for an event that is not valid.
 */
export function toMessage(type: string, headers: IncomingHttpHeaders, body: Buffer): Buffer {
  const attributes = Object.keys(headers).filter((name) => name.startsWith(PREFIX));
  if (type.startsWith("application/cloudevents")) {
    if (type !== CLOUD_EVENT_TYPE)
      throw invalid(`${type} is not supported, ${CLOUD_EVENT_TYPE} is`);
    if (asEvent(body) === undefined) throw invalid("the body is not a CloudEvent 1.0 in JSON");
    return body;
  }
  return attributes.length === 0 ? body : wrap(attributes, headers, body);
}

/**
 * Reads a message as an event.
 *
 * @returns Its JSON on one line, numbers as they were written; `undefined` when it is none.
 */
export function asEvent(message: Buffer): string | undefined {
  if (message[0] !== 0x7b && !/^\s/.test(String.fromCharCode(message[0] ?? 0))) return undefined;
  const text = decode(message);
  const event = text === undefined ? undefined : parse(text);
  if (text === undefined || typeof event !== "object" || event === null) return undefined;
  const fields = event as Readonly<Record<string, unknown>>;
  const isValid = REQUIRED.every(
    (name) =>
      Object.hasOwn(fields, name) && typeof fields[name] === "string" && fields[name] !== "",
  );
  if (!isValid || fields["specversion"] !== "1.0") return undefined;
  // Line ends in valid JSON are between its tokens only.
  return text.trim().replaceAll(/[\r\n]+/g, " ");
}

function wrap(names: readonly string[], headers: IncomingHttpHeaders, body: Buffer): Buffer {
  const event: Record<string, string> = {};
  for (const header of names)
    event[attributeName(header)] = attributeValue(header, headers[header]);
  for (const name of REQUIRED) {
    if (event[name] === undefined) throw invalid(`a CloudEvent needs the header ${PREFIX}${name}`);
  }
  if (event["specversion"] !== "1.0") throw invalid("ce-specversion must be 1.0");
  const type = headers["content-type"] ?? "";
  event["datacontenttype"] = type;
  const start = JSON.stringify(event).slice(0, -1);
  if (body.length === 0) return Buffer.from(`${start}}`);
  return Buffer.concat([Buffer.from(`${start},${dataName(type, body)}`), Buffer.from("}")]);
}

/** The data as a member of the event. JSON stays as it was written: parsed, numbers would change. */
function dataName(type: string, body: Buffer): string {
  const text = decode(body);
  if (text === undefined) return `"data_base64":"${body.toString("base64")}"`;
  const media = type.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (!/[/+]json$/.test(media)) return `"data":${JSON.stringify(text)}`;
  if (parse(text) === undefined) throw invalid("the body is not the JSON that its type says");
  return `"data":${text}`;
}

function attributeName(header: string): string {
  const name = header.slice(PREFIX.length);
  if (/^[a-z0-9]{1,40}$/.test(name) && !["data", "datacontenttype"].includes(name)) return name;
  throw invalid(`${header.slice(0, 60)} is not a header of a CloudEvent`);
}

/** https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values */
function attributeValue(header: string, value: string | readonly string[] | undefined): string {
  if (typeof value !== "string" || value === "" || value.length > MAX_VALUE) {
    throw invalid(`${header} must be given once, with 1 to ${MAX_VALUE} characters`);
  }
  try {
    return decodeURIComponent(value.replaceAll(/%(?![0-9a-fA-F]{2})/g, "%25"));
  } catch {
    throw invalid(`${header} is not UTF-8 behind its percent signs`);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @returns The text, or `undefined` when the bytes are none. */
export function decode(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function invalid(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_OPTION", message);
}
