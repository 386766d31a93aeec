import { chmod } from "node:fs/promises";
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

import { ShimmyError, toShimmyError, type ShimmyErrorCode } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import type { ErrorReply } from "./api.ts";
import type { Change, ChangeReply } from "./channels/routes.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { AgentNative, Credentials, ListenOn } from "./native.ts";
import { claimSocketPath } from "./runtime-dir.ts";

/** What a request is answered with when it is a success. */
export interface Reply {
  readonly contentType: string;
  readonly body: string;
}

/** A request that changes something, and what it is answered with; see channels/routes.ts. */
export type ChangeRoute = (change: Change) => Promise<ChangeReply | undefined>;

/** Options for {@link ApiServer.listen}. */
export interface ApiServerOptions {
  readonly on: ListenOn;
  /** Decides who may ask. @returns The refusal, or `undefined`. */
  readonly admit: (peer: Credentials) => ShimmyError | undefined;
  /** Whether one more request is within the rate. */
  readonly takeRequest: () => boolean;
  /** @returns The reply for a path, or `undefined` when there is no such path. */
  readonly route: (path: string) => Promise<Reply> | Reply | undefined;
  /** @returns Nothing at a path where nothing can be changed. @defaultValue everything is read-only */
  readonly change?: ChangeRoute;
  readonly maxConnections: number;
  /** Time for a whole request to arrive, in milliseconds. @defaultValue 5000 */
  readonly requestTimeoutMs?: number;
  readonly native: Pick<AgentNative, "peerCredentials">;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

const REQUEST_TIMEOUT_MS = 5000;
const KEEP_ALIVE_MS = 5000;
const MAX_HEADER_BYTES = 8192;
/** A socket on which nothing moves, a reader that does not read included, is closed after this time. */
const IDLE_SOCKET_MS = 10_000;
const MAX_REQUESTS_PER_SOCKET = 1000;

/** What the codes of refusals look like in HTTP; others are the agent's own failure. */
const STATUS_BY_CODE: ReadonlyMap<ShimmyErrorCode, number> = new Map<ShimmyErrorCode, number>([
  ["SHIMMY_ERR_CHANNEL_EXISTS", 409],
  ["SHIMMY_ERR_CHANNEL_IN_USE", 409],
  ["SHIMMY_ERR_CHANNEL_MISMATCH", 409],
  ["SHIMMY_ERR_INVALID_OPTION", 400],
  ["SHIMMY_ERR_LIMIT", 413],
  ["SHIMMY_ERR_METHOD_NOT_ALLOWED", 405],
  ["SHIMMY_ERR_NOT_ATTESTED", 403],
  ["SHIMMY_ERR_NOT_FOUND", 404],
  ["SHIMMY_ERR_RATE_LIMITED", 429],
  ["SHIMMY_ERR_REGISTRY_RECORD", 502],
  ["SHIMMY_ERR_REGISTRY_UNAVAILABLE", 503],
  ["SHIMMY_ERR_TOPIC_DENIED", 403],
]);

/** Node's errors before there is a request. https://nodejs.org/api/http.html#event-clienterror */
const STATUS_BY_CLIENT_ERROR: ReadonlyMap<string, string> = new Map([
  ["HPE_HEADER_OVERFLOW", "431 Request Header Fields Too Large"],
  ["ERR_HTTP_REQUEST_TIMEOUT", "408 Request Timeout"],
]);

/** Longest body of a request. */
const MAX_BODY_BYTES = 4096;

/** HTTP over a Unix socket, for clients that are not trusted. */
export class ApiServer {
  readonly #server: Server;
  readonly #options: ApiServerOptions;
  readonly #refusals = new WeakMap<Socket, ShimmyError>();

  private constructor(options: ApiServerOptions) {
    this.#options = options;
    const { requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
    const limits: ServerOptions = {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.ceil(requestTimeoutMs / 5),
    };
    this.#server = createServer(limits, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.timeout = IDLE_SOCKET_MS;
    this.#server.maxRequestsPerSocket = MAX_REQUESTS_PER_SOCKET;
    this.#server.maxConnections = options.maxConnections;
    this.#server.maxHeadersCount = 64;
    this.#server.on("connection", (socket) => {
      this.#check(socket);
    });
    this.#server.on("clientError", refuseUnreadable);
  }

  /**
   * Binds the socket, or takes one that listens already; a file left over from an agent that was
   * killed is replaced.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` when another agent listens there.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it cannot be bound.
   */
  static async listen(options: ApiServerOptions): Promise<ApiServer> {
    const { on } = options;
    if ("path" in on) await claimSocketPath(on.path);
    const server = new ApiServer(options);
    try {
      await new Promise<void>((resolve, reject) => {
        const target = "path" in on ? { path: on.path } : { fd: on.fd.release() };
        server.#server.once("error", reject).listen(target, resolve);
      });
      if ("path" in on) await chmod(on.path, on.mode);
    } catch (err) {
      await server.close();
      throw toShimmyError(err, "SHIMMY_ERR_SYSTEM");
    }
    return server;
  }

  /** Closes the socket and every connection, and removes the file. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
      this.#server.closeAllConnections();
    });
  }

  /** Asks the kernel once per connection who it is. */
  #check(socket: Socket): void {
    try {
      const refusal = this.#options.admit(
        this.#options.native.peerCredentials(descriptorOf(socket)),
      );
      if (refusal !== undefined) this.#refusals.set(socket, refusal);
    } catch (err) {
      this.#refusals.set(
        socket,
        new ShimmyError("SHIMMY_ERR_NOT_ATTESTED", "the peer is not known", { cause: err }),
      );
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      this.#refuse(request);
      const [path = "/", query = ""] = (request.url ?? "/").split("?", 2);
      if (request.method === "POST" || request.method === "DELETE") {
        await this.#change(request, response, { path, query: new URLSearchParams(query) });
        return;
      }
      refuseBody(request);
      const reply = await this.#options.route(path);
      if (reply === undefined) throw new ShimmyError("SHIMMY_ERR_NOT_FOUND", "no such path");
      this.#send(request, response, { status: 200, ...reply });
    } catch (err) {
      this.#sendError(request, response, toShimmyError(err));
    }
  }

  async #change(
    request: IncomingMessage,
    response: ServerResponse,
    { path, query }: Pick<Change, "path" | "query">,
  ): Promise<void> {
    const { change } = this.#options;
    const method = request.method === "POST" ? "POST" : "DELETE";
    if (method === "DELETE") refuseBody(request);
    const body = method === "POST" ? await readJson(request) : undefined;
    const reply = await change?.({ method, path, query, body });
    if (reply === undefined) throw notAllowed();
    const { status, body: answer } = reply;
    const contentType = "application/json";
    this.#send(request, response, { status, contentType, body: JSON.stringify(answer) });
  }

  /** @throws {@link ShimmyError} The first thing that is wrong with a request. */
  #refuse({ socket, method = "" }: IncomingMessage): void {
    const refusal = this.#refusals.get(socket);
    if (refusal !== undefined) throw refusal;
    if (!this.#options.takeRequest()) {
      throw new ShimmyError("SHIMMY_ERR_RATE_LIMITED", "too many requests");
    }
    const isChange = method === "POST" || method === "DELETE";
    if (method === "GET" || method === "HEAD") return;
    if (!isChange || this.#options.change === undefined) throw notAllowed();
  }

  #sendError(request: IncomingMessage, response: ServerResponse, error: ShimmyError): void {
    const status = STATUS_BY_CODE.get(error.code) ?? 500;
    if (status === 500) this.#options.log.error({ err: error }, "request failed");
    if (status === 405) response.setHeader("Allow", "GET, HEAD");
    if (status === 429) response.setHeader("Retry-After", "1");
    // What else comes on this connection, a body for one, is not read.
    response.setHeader("Connection", "close");
    const reply: ErrorReply = { code: error.code, message: error.message };
    const body = JSON.stringify(reply);
    this.#send(request, response, { status, contentType: "application/json", body });
  }

  #send(
    request: IncomingMessage,
    response: ServerResponse,
    { status, contentType, body }: Reply & { status: number },
  ): void {
    this.#options.metrics.httpRequests.inc({ status: String(status) });
    response.writeHead(status, {
      "Content-Type": contentType,
      "Content-Length": Buffer.byteLength(body),
      "Cache-Control": "no-store",
    });
    response.end(request.method === "HEAD" ? undefined : body);
  }
}

function notAllowed(): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_METHOD_NOT_ALLOWED", "only GET and HEAD are allowed here");
}

/** @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` when there is one. */
function refuseBody({ headers }: IncomingMessage): void {
  const length = headers["content-length"] ?? "0";
  if (length !== "0" || headers["transfer-encoding"] !== undefined) {
    throw new ShimmyError("SHIMMY_ERR_LIMIT", "a request must not have a body");
  }
}

/** @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` or `SHIMMY_ERR_INVALID_OPTION`. */
async function readJson(request: IncomingMessage): Promise<unknown> {
  // Plain text is what a page in a browser may send anywhere.
  if (!/^application\/json\b/.test(request.headers["content-type"] ?? "")) {
    throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "the body must be application/json");
  }
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) {
      throw new ShimmyError("SHIMMY_ERR_LIMIT", `a body of more than ${MAX_BODY_BYTES} bytes`);
    }
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8"));
  } catch (err) {
    throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "the body is not JSON", { cause: err });
  }
}

/** Node keeps the descriptor in the handle; -1, which the kernel refuses, when it is gone. */
function descriptorOf(socket: Socket): number {
  return (socket as { _handle?: { fd?: number } | null })._handle?.fd ?? -1;
}

function refuseUnreadable(err: NodeJS.ErrnoException, socket: Duplex): void {
  if (err.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = STATUS_BY_CLIENT_ERROR.get(err.code ?? "") ?? "400 Bad Request";
  const body = JSON.stringify({
    code: "SHIMMY_ERR_PROTOCOL",
    message: status.slice(4).toLowerCase(),
  });
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
