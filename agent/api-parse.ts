import { isIP } from "node:net";

import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";

import { ShimmyError } from "../common/errors.ts";
import { MAX_DEPTH, MAX_MESSAGE_BYTES } from "./api-limits.ts";
import { AGENT_SCHEMAS, CLIENT_SCHEMAS } from "./api-schemas.ts";
import type { AgentMessage, ClientMessage } from "./api.ts";
import type { JsonSchema } from "./schema.ts";

/** By type; a `Map`, so that a type such as `__proto__` finds nothing. */
type Validators = ReadonlyMap<string, ValidateFunction>;

const clientValidators = compile(CLIENT_SCHEMAS);
const agentValidators = compile(AGENT_SCHEMAS);

/**
 * Reads one record that a client sent to the agent. Any bytes are safe to pass.
 *
 * @returns A message with the fields of its schema only.
 * @throws {@link ShimmyError} `SHIMMY_ERR_MESSAGE_TOO_BIG` beyond 65,536 bytes.
 * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` when it is not a message of the contract.
 */
export function parseClientMessage(data: Uint8Array): ClientMessage {
  return parse(data, clientValidators) as ClientMessage;
}

/**
 * Reads one record that the agent sent to a client. Any bytes are safe to pass.
 *
 * @returns A message with the fields of its schema only.
 * @throws {@link ShimmyError} `SHIMMY_ERR_MESSAGE_TOO_BIG` beyond 65,536 bytes.
 * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` when it is not a message of the contract.
 */
export function parseAgentMessage(data: Uint8Array): AgentMessage {
  return parse(data, agentValidators) as AgentMessage;
}

/**
 * Writes a message as one record.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_MESSAGE_TOO_BIG` beyond 65,536 bytes.
 */
export function encodeMessage(message: ClientMessage | AgentMessage): Buffer {
  const data = Buffer.from(JSON.stringify(message));
  if (data.length > MAX_MESSAGE_BYTES) throw tooBig(`${message.type} message`, data.length);
  return data;
}

function parse(data: Uint8Array, validators: Validators): unknown {
  if (data.length > MAX_MESSAGE_BYTES) throw tooBig("message", data.length);
  const message = parseJson(data);
  const type = typeOf(message);
  const validate = type === undefined ? undefined : validators.get(type);
  if (validate === undefined) throw misuse(`unknown message type ${shorten(type)}`);
  if (!validate(message)) throw misuse(`${String(type)} message: ${explain(validate.errors)}`);
  return message;
}

function parseJson(data: Uint8Array): unknown {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    if (nestsDeeperThan(MAX_DEPTH, text)) throw misuse(`message nests deeper than ${MAX_DEPTH}`);
    return JSON.parse(text);
  } catch (err) {
    if (err instanceof ShimmyError) throw err;
    throw misuse("message is not JSON in UTF-8", err);
  }
}

function typeOf(message: unknown): string | undefined {
  if (typeof message !== "object" || message === null || Array.isArray(message)) return undefined;
  const { type } = message as { type?: unknown };
  return typeof type === "string" ? type : undefined;
}

/** Counts brackets outside strings; what is not JSON may get any answer, the parser refuses it. */
function nestsDeeperThan(limit: number, text: string): boolean {
  let depth = 0;
  // An unclosed string runs to the end of the text: a scan that started again behind its quote would
  // take quadratic time.
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*(?:"|\\?$)|[[{]|[\]}]/gs)) {
    if (token === "[" || token === "{") depth += 1;
    else if (token === "]" || token === "}") depth -= 1;
    if (depth > limit) return true;
  }
  return false;
}

function compile(schemas: Readonly<Record<string, JsonSchema>>): Validators {
  // "all": unknown fields are dropped from what we hand on, at every level.
  const ajv = new Ajv({ strict: true, removeAdditional: "all", formats: { ip: isAddress } });
  return new Map(
    Object.entries(schemas).map(([type, schema]) => {
      const properties = { type: { const: type }, ...(schema.properties as object) };
      return [type, ajv.compile({ ...schema, properties })];
    }),
  );
}

function isAddress(text: string): boolean {
  return isIP(text) !== 0;
}

function explain(errors: ErrorObject[] | null | undefined): string {
  const [first] = errors ?? [];
  if (first === undefined) return "not of its schema";
  return `${first.instancePath === "" ? "" : `${first.instancePath} `}${first.message ?? "invalid"}`;
}

/** A type as the peer wrote it, cut, for a message that goes into a log and back to the peer. */
function shorten(type: string | undefined): string {
  return type === undefined ? "(none)" : JSON.stringify(type.slice(0, 40));
}

function misuse(message: string, cause?: unknown): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", message, { cause });
}

function tooBig(what: string, length: number): ShimmyError {
  return new ShimmyError(
    "SHIMMY_ERR_MESSAGE_TOO_BIG",
    `${what} of ${length} bytes, at most ${MAX_MESSAGE_BYTES}`,
  );
}
