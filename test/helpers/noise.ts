import { createCipheriv, createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";

const CHUNK_BYTES = 1024 * 1024;

/** Bytes without any pattern, the same ones for the same seed, in pieces of 1 MiB. */
export function* noise(seed: string, bytes: number): Generator<Buffer> {
  const key = createHash("sha256").update(seed).digest();
  const cipher = createCipheriv("aes-256-ctr", key, Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK_BYTES);
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    yield cipher.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES)));
  }
}

/** The hash of {@link noise}. */
export function noiseSha256(seed: string, bytes: number): string {
  const hash = createHash("sha256");
  for (const part of noise(seed, bytes)) hash.update(part);
  return hash.digest("hex");
}

/**
 * Writes a file of {@link noise}.
 *
 * @returns Its hash.
 */
export function writeNoise(path: string, seed: string, bytes: number): string {
  const hash = createHash("sha256");
  const file = openSync(path, "w", 0o644);
  for (const part of noise(seed, bytes)) {
    hash.update(part);
    writeSync(file, part);
  }
  closeSync(file);
  return hash.digest("hex");
}
