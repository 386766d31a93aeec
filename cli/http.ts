import { request } from "node:http";

/** Where to ask: a URL, or a path on a Unix socket. */
export type HttpSource =
  { readonly url: string } | { readonly socketPath: string; readonly path: string };

/** An address and port as they stand in a URL. */
export function formatHost(address: string, port: number): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

const TIMEOUT_MS = 2000;
const MAX_REPLY_BYTES = 64 * 1024 * 1024;

/**
 * Fetches a page of an agent or sidecar.
 *
 * @returns Its text, or `undefined` when nobody answers with success.
 */
export function getText(source: HttpSource): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: TIMEOUT_MS, agent: false };
    const call =
      "url" in source ? request(source.url, options) : request({ ...source, ...options });
    const fail = (): void => {
      call.destroy();
      resolve(undefined);
    };
    call.once("timeout", fail).once("error", fail);
    call.once("response", (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on("error", fail);
      response.on("data", (part: Buffer) => {
        parts.push(part);
        size += part.length;
        if (size > MAX_REPLY_BYTES) fail();
      });
      response.once("end", () => {
        const isOk = response.statusCode === 200;
        resolve(isOk ? Buffer.concat(parts).toString() : undefined);
      });
    });
    call.end();
  });
}

/**
 * Fetches a page that is JSON.
 *
 * @returns What it says, or `undefined` when nobody answers with success and JSON.
 */
export async function getJson(source: HttpSource): Promise<unknown> {
  const text = await getText(source);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
