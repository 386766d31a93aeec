import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";

import { ShimmyError, toShimmyError, type ShimmyErrorCode } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import type { Certificate } from "./certificate.ts";

/** A reply; JSON unless it says otherwise. */
export interface WebhookReply {
  readonly status?: number;
  readonly contentType?: string;
  readonly body: string;
}

/** Answers one method and path. `body` is empty for `GET`. */
export type WebhookRoute = (body: string) => WebhookReply | Promise<WebhookReply>;

/** Options for {@link WebhookServer.listen}. */
export interface WebhookServerOptions {
  readonly port: number;
  readonly certificate: Certificate;
  /** By `POST /pods`. */
  readonly routes: Readonly<Record<string, WebhookRoute>>;
  readonly onReply: (status: number) => void;
  readonly log: Logger;
}

// An object of the API has 1.5 MiB at most (etcd's limit), an update carries two of them.
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const LIMITS = {
  maxHeaderSize: 16_384,
  headersTimeout: 5000,
  // Above the time-out of the webhook, 5 s.
  requestTimeout: 10_000,
  connectionsCheckingInterval: 1000,
  // The API server keeps its connections; one that we close first costs it a retry.
  keepAliveTimeout: 120_000,
} as const;

const STATUS_BY_CODE: ReadonlyMap<ShimmyErrorCode, number> = new Map<ShimmyErrorCode, number>([
  ["SHIMMY_ERR_PROTOCOL", 400],
  ["SHIMMY_ERR_NOT_FOUND", 404],
  ["SHIMMY_ERR_MESSAGE_TOO_BIG", 413],
]);

/** HTTPS for the API server; its certificate can be changed while it serves. */
export class WebhookServer {
  readonly #server: Server;
  readonly #options: WebhookServerOptions;

  private constructor(options: WebhookServerOptions) {
    this.#options = options;
    const { cert, key } = options.certificate;
    this.#server = createServer({ ...LIMITS, ...TLS, cert, key }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.on("tlsClientError", (err) => {
      options.log.debug({ err }, "TLS handshake failed");
    });
  }

  /**
   * Binds the port on all addresses and begins to answer.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` that names the port.
   */
  static async listen(options: WebhookServerOptions): Promise<WebhookServer> {
    const server = new WebhookServer(options);
    try {
      await new Promise<void>((resolve, reject) => {
        server.#server.once("error", reject).listen(options.port, resolve);
      });
    } catch (err) {
      const { message } = toShimmyError(err);
      throw new ShimmyError("SHIMMY_ERR_SYSTEM", `port ${options.port}: ${message}`, {
        cause: err,
      });
    }
    return server;
  }

  /** Where it listens. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** New connections get this certificate; those that are open go on. */
  setCertificate({ cert, key }: Certificate): void {
    this.#server.setSecureContext({ ...TLS, cert, key });
  }

  /** Stops accepting, lets requests end, and closes idle connections. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reply = await this.#reply(request);
    const { status = 200, contentType = "application/json", body } = reply;
    this.#options.onReply(status);
    // Connections of a server that is closing would be kept open by the next request.
    if (!this.#server.listening || status >= 400) response.setHeader("Connection", "close");
    response.writeHead(status, {
      "Content-Type": contentType,
      "Content-Length": Buffer.byteLength(body),
    });
    response.end(body);
  }

  async #reply(request: IncomingMessage): Promise<WebhookReply> {
    try {
      const { method = "", url = "" } = request;
      const name = `${method} ${url.split("?", 1)[0] ?? ""}`;
      const { routes } = this.#options;
      const route = Object.hasOwn(routes, name) ? routes[name] : undefined;
      if (route === undefined) {
        throw new ShimmyError("SHIMMY_ERR_NOT_FOUND", `there is ${Object.keys(routes).join(", ")}`);
      }
      return await route(method === "GET" ? "" : await readBody(request));
    } catch (err) {
      const error = toShimmyError(err);
      const { code, message } = error;
      const status = STATUS_BY_CODE.get(code) ?? 500;
      if (status === 500) this.#options.log.error({ err: error }, "request failed");
      return { status, body: `${JSON.stringify({ code, message })}\n` };
    }
  }
}

const TLS = { minVersion: "TLSv1.2" } as const;

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) {
      throw new ShimmyError("SHIMMY_ERR_MESSAGE_TOO_BIG", `more than ${MAX_BODY_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
