import type { ServerResponse } from "node:http";

import { ShimmyError } from "../../common/errors.ts";
import type { Sink } from "./feed.ts";
import type { TopicEvent } from "./render.ts";

/** A client that takes nothing for this time is cut off. */
export const STALL_MS = 30_000;
/** A proxy, or a kernel, in between learns by it that there is still somebody. */
const HEARTBEAT_MS = 15_000;

/** A response without end: server-sent events, or lines of JSON. */
export class ResponseSink implements Sink {
  readonly #response: ServerResponse;
  readonly #render: (event: TopicEvent) => string;
  readonly #heartbeat: NodeJS.Timeout | undefined;

  constructor(response: ServerResponse, type: string, render: (event: TopicEvent) => string) {
    this.#response = response;
    this.#render = render;
    response.on("error", () => {
      // Of a write, whose callback tells.
    });
    response.writeHead(200, {
      "Content-Type": type,
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
      Connection: "close",
    });
    response.flushHeaders();
    if (type !== "text/event-stream") return;
    this.#heartbeat = setInterval(() => {
      // While a write is under way the client's window is what it waits for.
      if (response.writableLength === 0) response.write(":\n\n");
    }, HEARTBEAT_MS).unref();
  }

  send(event: TopicEvent): Promise<void> {
    return arrival((done) => {
      this.#response.write(this.#render(event), done);
    });
  }

  /** Ends the response. */
  close(): void {
    clearInterval(this.#heartbeat);
    this.#response.end();
  }
}

/**
 * Waits until `write` has called back: the bytes are with the kernel then.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SLOW_READER` when that takes too long.
 */
export async function arrival(
  write: (done: (err?: Error | null) => void) => void,
  stallMs: number = STALL_MS,
): Promise<void> {
  const written = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => {
    written.reject(new ShimmyError("SHIMMY_ERR_SLOW_READER", `took nothing for ${stallMs} ms`));
  }, stallMs);
  try {
    write((err) => {
      if (err) written.reject(err);
      else written.resolve(undefined);
    });
    await written.promise;
  } finally {
    clearTimeout(timer);
  }
}
