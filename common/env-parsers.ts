import { isIP } from "node:net";

import { ShimmyError } from "./errors.ts";
import { didYouMean } from "./suggest.ts";

/** Bounds of a number, both included. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** Reads a whole number, without sign tricks, exponents or spaces. */
export function integer({ min, max }: Range): (text: string) => number {
  return (text) => {
    const value = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw refused(`an integer from ${min} to ${max}`, text);
  };
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1000,
  M: 1000 ** 2,
  G: 1000 ** 3,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
};

/** Reads a size as Kubernetes writes them (`65536`, `64Ki`, `1.5Mi`); gives whole bytes. */
export function bytes({ min, max }: Range): (text: string) => number {
  return (text) => {
    const match = /^(?<amount>\d{1,12}(?:\.\d{1,3})?)(?<unit>[A-Za-z]*)$/.exec(text)?.groups;
    const unit = BYTE_UNITS[match?.unit ?? "?"] ?? Number.NaN;
    const value = Number(match?.amount) * unit;
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw refused(`a size such as 64Ki or 1Mi, from ${min} to ${max} bytes`, text);
  };
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Reads a time with its unit (`250ms`, `5s`, `2m`, `1h`, or `0`); gives whole milliseconds. */
export function duration({ min, max }: Range): (text: string) => number {
  return (text) => {
    const match = /^(?<amount>\d{1,12}(?:\.\d{1,3})?)(?<unit>ms|s|m|h)$/.exec(text)?.groups;
    const unit = DURATION_UNITS[match?.unit ?? "?"] ?? Number.NaN;
    const value = text === "0" ? 0 : Number(match?.amount) * unit;
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw refused(`a time such as 250ms, 5s or 2m, from ${min}ms to ${max}ms`, text);
  };
}

/** Reads one of a few words. */
export function oneOf<const T extends string>(words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((candidate) => candidate === text);
    if (word !== undefined) return word;
    throw refused(`one of ${words.join(", ")}`, text, didYouMean(text, words));
  };
}

/** Reads `true` or `false`. */
export function boolean(text: string): boolean {
  if (text === "true" || text === "false") return text === "true";
  throw refused("true or false", text);
}

/** Reads text that is not empty. */
export function text(value: string): string {
  if (value !== "") return value;
  throw refused("text that is not empty", value);
}

/** Reads a list separated by commas or line ends; empty text is the empty list, empty items are refused. */
export function list<T>(item: (text: string) => T): (text: string) => readonly T[] {
  return (value) => {
    if (value.trim() === "") return [];
    return value.split(/[,\n]/).map((part) => item(part.trim()));
  };
}

/** A TCP address to listen on. */
export interface ListenAddress {
  /** Numeric IPv4 or IPv6. */
  readonly address: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
}

/** Reads an address and a port, an IPv6 address in brackets. */
export function listenAddress(text: string): ListenAddress {
  const [, host = "", portText = ""] = /^(.{2,47}):(\d{1,5})$/.exec(text) ?? [];
  const inner = /^\[(.+)\]$/.exec(host)?.[1];
  const port = Number(portText);
  if (isIP(inner ?? host) === (inner === undefined ? 4 : 6) && port <= 65_535) {
    return { address: inner ?? host, port };
  }
  throw refused("an address and port such as 127.0.0.1:14790 or [::1]:14790", text);
}

function refused(expected: string, value: string, hint = ""): ShimmyError {
  // Cut, because a wrong value may be a whole file pasted into a variable.
  const shown = value.length > 80 ? `${value.slice(0, 80)}…` : value;
  return new ShimmyError(
    "SHIMMY_ERR_INVALID_CONFIG",
    `expected ${expected}, got "${shown}"${hint}`,
  );
}
