import { setTimeout as delay } from "node:timers/promises";

import { SLOWNESS } from "./slowness.ts";

const POLL_MS = 10;

/**
 * Waits until `condition` gives something other than `undefined` or `false`.
 *
 * @param what - What is waited for, as the error says it.
 * @throws Error when it does not come in time.
 */
export async function eventually<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs * SLOWNESS;
  for (;;) {
    const result = await condition();
    if (result !== undefined && result !== false) return result;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await delay(POLL_MS);
  }
}
