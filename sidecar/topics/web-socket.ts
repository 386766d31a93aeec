import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

import type { WebSocket, WebSocketServer } from "ws";

import { ShimmyError } from "../../common/errors.ts";
import type { Sink } from "./feed.ts";
import { toJsonLine, type MessageFormat, type TopicEvent } from "./render.ts";
import { arrival, STALL_MS } from "./response-sink.ts";

/** Subprotocol in which every event is a text frame of JSON. */
export const JSON_SUBPROTOCOL = "shimmy.json";

/** All that a client may say. */
const ACKNOWLEDGEMENT = "ack";
const PING_MS = 15_000;

/** Options for {@link WebSocketSink}. */
export interface WebSocketSinkOptions {
  readonly format: MessageFormat;
  /** Whether a message has arrived only when the client says so. */
  readonly isAcknowledged: boolean;
}

let server: Promise<WebSocketServer> | undefined;

/**
 * Answers the request for an upgrade. ws is loaded when it is needed first.
 *
 * @returns Never, when the request is not in order: then the socket is closed.
 */
export async function acceptWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<WebSocket> {
  server ??= import("ws").then(
    (ws) =>
      new ws.WebSocketServer({
        noServer: true,
        clientTracking: false,
        perMessageDeflate: false,
        maxPayload: 64,
        handleProtocols: (offered) => offered.has(JSON_SUBPROTOCOL) && JSON_SUBPROTOCOL,
      }),
  );
  const accepted = await server;
  return new Promise((resolve) => {
    accepted.handleUpgrade(request, socket, head, (client) => {
      // At once: what came with the request may be no frame, and an error nobody listens to is thrown.
      client.on("error", () => {
        // Its close event follows.
      });
      resolve(client);
    });
  });
}

/** A WebSocket that is fed. */
export class WebSocketSink implements Sink {
  readonly #socket: WebSocket;
  readonly #options: WebSocketSinkOptions;
  readonly #ping: NodeJS.Timeout;
  #isAlive = true;
  #acknowledge: ((err?: Error) => void) | undefined;

  constructor(socket: WebSocket, options: WebSocketSinkOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("close", () => {
      clearInterval(this.#ping);
      this.#acknowledge?.(new ShimmyError("SHIMMY_ERR_CLOSED", "the client has gone"));
    });
    socket.on("pong", () => {
      this.#isAlive = true;
    });
    socket.on("message", (data: Buffer, isBinary) => {
      this.#hear(isBinary ? "" : data.toString());
    });
    this.#ping = setInterval(() => {
      if (!this.#isAlive) socket.terminate();
      this.#isAlive = false;
      socket.ping();
    }, PING_MS).unref();
  }

  async send(event: TopicEvent): Promise<void> {
    const isMessage = event.kind === "message";
    const acknowledged =
      isMessage && this.#options.isAcknowledged ? this.#acknowledgement() : undefined;
    const isBinary = isMessage && this.#socket.protocol !== JSON_SUBPROTOCOL;
    const frame = isBinary ? event.delivery.data : toJsonLine(event, this.#options.format);
    await arrival((done) => {
      this.#socket.send(frame, { binary: isBinary }, done);
    });
    await acknowledged;
  }

  /** Says goodbye, and hangs up on who does not answer. */
  async close(code: number, reason: string): Promise<void> {
    clearInterval(this.#ping);
    const socket = this.#socket;
    if (socket.readyState === socket.CLOSED) return;
    const closed = once(socket, "close");
    const timer = setTimeout(() => {
      socket.terminate();
    }, 2000);
    socket.close(code, reason);
    await closed;
    clearTimeout(timer);
  }

  #acknowledgement(): Promise<void> {
    const heard = arrival((done) => {
      this.#acknowledge = done;
    }, STALL_MS);
    // It may come to nothing while the message is still being written.
    heard.catch(() => undefined);
    return heard;
  }

  #hear(text: string): void {
    const acknowledge = this.#acknowledge;
    this.#acknowledge = undefined;
    if (text === ACKNOWLEDGEMENT && acknowledge !== undefined) acknowledge();
    else this.#socket.close(1008, "only ack is understood, once for each message");
  }
}
