import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { dirname, resolve } from "node:path";
import { parseDocument } from "yaml";

import { messageOf } from "../../common/errors.ts";
import { didYouMean } from "../../common/suggest.ts";
import { parseUpstreams, type UpstreamSpec } from "../../sidecar/upstreams.ts";
import { refused, requireName, requirePort, type ProgramSpec, type ServedPort } from "./plan.ts";

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads a `shimmy.yaml`; docs/guides/local.md describes the keys.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names the file and the place in it.
 */
export function readRunFile(path: string): ProgramSpec[] {
  try {
    return parseRunFile(readFileSync(path, "utf8"), dirname(resolve(path)));
  } catch (err) {
    throw refused(`${path}: ${messageOf(err)}`);
  }
}

/**
 * Reads the text of a `shimmy.yaml`.
 *
 * @param directory - Where the programs run unless they say otherwise.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names the place in it.
 */
export function parseRunFile(text: string, directory: string): ProgramSpec[] {
  const document = parseDocument(text);
  const [problem] = document.errors;
  if (problem !== undefined) throw refused(problem.message.split("\n", 1)[0] ?? "not YAML");
  const file = fields("the file", document.toJS({ maxAliasCount: 100 }), ["programs"]);
  const programs = fields("programs", file["programs"]);
  return Object.entries(programs).map(([name, value]) => program(name, value, directory));
}

const PROGRAM_KEYS = ["command", "serves", "calls", "address", "env", "cwd"];

function program(name: string, value: unknown, directory: string): ProgramSpec {
  const path = `programs.${requireName("program", name)}`;
  const given = fields(path, value, PROGRAM_KEYS);
  const { command, serves = {}, calls = {}, address, env, cwd } = given;
  return {
    name,
    serves: Object.entries(fields(`${path}.serves`, serves)).map(servedPort(path)),
    calls: Object.entries(fields(`${path}.calls`, calls)).map(upstream(path)),
    cwd: cwd === undefined ? directory : resolve(directory, text(`${path}.cwd`, cwd)),
    ...(command === undefined ? {} : { command: commandOf(`${path}.command`, command) }),
    ...(address === undefined ? {} : { address: addressOf(`${path}.address`, address) }),
    ...(env === undefined ? {} : { env: variables(`${path}.env`, env) }),
  };
}

function servedPort(path: string): (entry: [string, unknown]) => ServedPort {
  return ([service, port]) => ({
    service: requireName(`${path}.serves:`, service),
    port: requirePort(`${path}.serves.${service}`, port),
  });
}

/** `web: 9001`, or with options `web: "9001?protocol=http"`. */
function upstream(path: string): (entry: [string, unknown]) => UpstreamSpec {
  return ([service, value]) => {
    const place = `${path}.calls.${service}`;
    const port = typeof value === "number" ? String(value) : text(place, value);
    try {
      const [spec, ...others] = parseUpstreams(`${service}:${port}`);
      if (spec === undefined || others.length > 0) throw refused("expected one local port");
      return spec;
    } catch (err) {
      throw refused(`${place}: ${messageOf(err)}`);
    }
  };
}

function commandOf(path: string, value: unknown): readonly string[] | string {
  if (!Array.isArray(value)) return text(path, value);
  if (value.length === 0) throw refused(`${path} has no words`);
  return value.map((word, index) => scalar(`${path}[${index}]`, word));
}

function addressOf(path: string, value: unknown): string {
  if (typeof value === "string" && isIP(value) !== 0) return value;
  throw refused(`${path} must be an IPv4 or IPv6 address, got ${JSON.stringify(value)}`);
}

function variables(path: string, value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(fields(path, value));
  return Object.fromEntries(entries.map(([name, item]) => [name, scalar(`${path}.${name}`, item)]));
}

/** A mapping; with `keys`, one that has no others. */
function fields(path: string, value: unknown, keys?: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refused(`${path} must have names and values, got ${JSON.stringify(value ?? null)}`);
  }
  const unknown = Object.keys(value).find((key) => keys?.includes(key) === false);
  if (unknown !== undefined) {
    throw refused(`${path} has an unknown key "${unknown}"${didYouMean(unknown, keys ?? [])}`);
  }
  return value as Fields;
}

function text(path: string, value: unknown): string {
  if (typeof value === "string" && value.trim() !== "") return value;
  throw refused(`${path} must be text, got ${JSON.stringify(value)}`);
}

function scalar(path: string, value: unknown): string {
  if (["string", "number", "boolean"].includes(typeof value)) return String(value);
  throw refused(`${path} must be text or a number, got ${JSON.stringify(value)}`);
}
