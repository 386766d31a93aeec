import { isIP } from "node:net";
import { ShimmyError } from "../../common/errors.ts";
import { FALLBACK_REASONS, type FallbackReason } from "../../common/reasons.ts";
import type { NativeRelayOptions, NativeUpstream } from "./native.ts";
import type { RelayEndpoint, RelayOptions, RelayUpstream } from "./relay-types.ts";

const MAX_U32 = 0xffff_ffff;

/** Smallest and largest value of each option. Powers of two are asked for below. */
const RANGES: Readonly<Record<keyof RelayOptions, readonly [number, number]>> = {
  threads: [1, 64],
  spinMicros: [0, 10_000],
  ringBudgetBytes: [65_536, Number.MAX_SAFE_INTEGER],
  maxRingBytes: [16_384, 2 ** 30],
  maxConnections: [1, MAX_U32],
  maxStreamsPerPeer: [1, MAX_U32],
  openTimeoutMs: [1, MAX_U32],
  connectTimeoutMs: [1, MAX_U32],
  idleTimeoutMs: [0, MAX_U32],
};

/**
 * Checks every option and refuses unknown ones.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` naming the option and its value.
 */
export function checkRelayOptions(options: RelayOptions): NativeRelayOptions {
  const unknown = Object.keys(options).find((key) => !Object.hasOwn(RANGES, key));
  if (unknown !== undefined) throw invalid(`unknown relay option "${unknown}"`);
  for (const [key, [min, max]] of Object.entries(RANGES)) {
    requireInteger(key, options[key as keyof RelayOptions], min, max);
  }
  if (!Number.isInteger(Math.log2(options.maxRingBytes))) {
    throw invalid(`maxRingBytes must be a power of two, got ${options.maxRingBytes}`);
  }
  return { ...options };
}

/**
 * Checks an upstream and turns reasons into numbers.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` naming what is wrong with it.
 */
export function checkUpstream(upstream: RelayUpstream): NativeUpstream {
  requireService(upstream.service);
  requirePort(upstream.port);
  return {
    service: upstream.service,
    port: upstream.port,
    endpoints: upstream.endpoints.map(checkEndpoint),
  };
}

/** Returns the number of a reason. @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION`. */
export function reasonNumber(reason: FallbackReason): number {
  const number = FALLBACK_REASONS.indexOf(reason);
  if (number < 0) throw invalid(`unknown fallback reason "${reason}"`);
  return number;
}

/** Accepts 1 to 65535. @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for anything else. */
export function requirePort(port: number, min = 1): void {
  requireInteger("port", port, min, 65_535);
}

/** Accepts IPv4 and IPv6. @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for anything else. */
export function requireAddress(address: string): void {
  if (isIP(address) === 0) throw invalid(`address must be numeric, got "${address}"`);
}

/** Accepts `namespace/name`. @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` otherwise. */
export function requireService(service: string): void {
  if (/^[^/]+\/[^/]+$/.test(service)) return;
  throw invalid(`service must be namespace/name, got "${service}"`);
}

/** Accepts whole numbers in a range. @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` otherwise. */
export function requireInteger(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw invalid(`${name} must be a whole number from ${min} to ${max}, got ${value}`);
}

function checkEndpoint(endpoint: RelayEndpoint): NativeUpstream["endpoints"][number] {
  const { pod, address, port, transport, reason } = endpoint;
  requireAddress(address);
  requirePort(port);
  if (transport === "shm") {
    if (reason !== undefined) throw invalid(`endpoint ${address}: shm takes no reason`);
    return { pod, address, port, shm: true, reason: 0 };
  }
  if (reason === undefined) throw invalid(`endpoint ${address}: tcp needs a reason`);
  return { pod, address, port, shm: false, reason: reasonNumber(reason) };
}

function invalid(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_OPTION", message);
}
