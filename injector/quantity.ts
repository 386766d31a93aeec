/**
 * Quantities of Kubernetes: `100m`, `64Mi`, `1.5`, `2e3`.
 *
 * @see https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */
import { refused, shown } from "./raw.ts";

const BINARY = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: Readonly<Record<string, number>> = {
  n: -9,
  u: -6,
  m: -3,
  "": 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const GRAMMAR =
  /^\+?(?=\.?\d)(?<whole>\d{0,18})(?:\.(?<part>\d{0,18}))?(?:[eE](?<exponent>[-+]?\d{1,2})|(?<unit>[A-Za-z]{0,2}))$/;
const NANO = 9;

/**
 * Reads a quantity that is not negative, exactly.
 *
 * @returns It in billionths, which is as fine as Kubernetes counts; finer parts are rounded up.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names the text.
 */
export function parseQuantity(text: string): bigint {
  const { whole, part = "", exponent, unit = "" } = GRAMMAR.exec(text)?.groups ?? {};
  if (whole === undefined) throw notOne(text);
  const digits = BigInt(whole + part);
  const binary = BINARY.indexOf(unit);
  if (binary >= 0) {
    return shift(digits * 1024n ** BigInt(binary + 1), NANO - part.length);
  }
  const power = exponent === undefined ? DECIMAL[unit] : Number(exponent);
  if (power === undefined) throw notOne(text);
  return shift(digits, power + NANO - part.length);
}

/** Reads an amount that is more than nothing; gives the text, as it goes into the pod. */
export function quantity(text: string): string {
  if (parseQuantity(text) > 0n) return text;
  throw refused(`expected a quantity above 0, got ${shown(text)}`);
}

/** Reads a quantity of memory. */
export function quantityBytes(text: string): number {
  return Number(parseQuantity(text) / 10n ** BigInt(NANO));
}

/** Writes bytes as short as they can be written exactly. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ["Gi", 1024 ** 3],
    ["Mi", 1024 ** 2],
    ["Ki", 1024],
  ] as const) {
    if (bytes % size === 0 && bytes > 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}

function shift(value: bigint, power: number): bigint {
  if (power >= 0) return value * 10n ** BigInt(power);
  const divisor = 10n ** BigInt(-power);
  return (value + divisor - 1n) / divisor;
}

function notOne(text: string): Error {
  return refused(`expected a quantity such as 100m or 64Mi, got ${shown(text)}`);
}
