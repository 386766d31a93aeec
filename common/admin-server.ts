import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { isIP, type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

import { ShimmyError, toShimmyError, type ShimmyErrorCode } from "./errors.ts";
import type { ListenAddress } from "./env-parsers.ts";
import type { Logger } from "./log.ts";

// An import of node:http, of whatever name, runs the getters of all its exports, and the one of
// WebSocket loads undici: 6 MiB of anonymous memory in a process that is to have 30.
const http = process.getBuiltinModule("node:http");

/** The answer to a request. */
export interface AdminReply {
  /** @defaultValue 200 */
  readonly status?: number;
  /** @defaultValue JSON */
  readonly contentType?: string;
  readonly body: string;
}

/** Answers `GET` of one path. */
export type AdminRoute = (query: URLSearchParams) => AdminReply | Promise<AdminReply>;

/** Options for {@link AdminServer.listen}. */
export interface AdminServerOptions extends ListenAddress {
  readonly routes: Readonly<Record<string, AdminRoute>>;
  readonly log: Logger;
}

const LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 5000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
} as const;
/** A connection on which nothing moves, a reader that does not read included, is closed then. */
const IDLE_SOCKET_MS = 10_000;
const MAX_CONNECTIONS = 64;
const MAX_HEADERS = 64;

const STATUS_BY_CODE: ReadonlyMap<ShimmyErrorCode, number> = new Map<ShimmyErrorCode, number>([
  ["SHIMMY_ERR_INVALID_OPTION", 400],
  ["SHIMMY_ERR_PROTOCOL", 403],
  ["SHIMMY_ERR_NOT_FOUND", 404],
  ["SHIMMY_ERR_METHOD_NOT_ALLOWED", 405],
  ["SHIMMY_ERR_LIMIT", 413],
]);

/** Node's errors before there is a request. https://nodejs.org/api/http.html#event-clienterror */
const STATUS_BY_CLIENT_ERROR: ReadonlyMap<string, string> = new Map([
  ["HPE_HEADER_OVERFLOW", "431 Request Header Fields Too Large"],
  ["ERR_HTTP_REQUEST_TIMEOUT", "408 Request Timeout"],
]);

/**
 * Read-only HTTP for health checks, scrapes and `shimmy top`.
 *
 * A page in a browser could be told that its own name is our address, and read the answers (DNS
 * rebinding): so a request must name an address, or localhost, as its host.
 */
export class AdminServer {
  readonly #server: Server;
  readonly #options: AdminServerOptions;

  private constructor(options: AdminServerOptions) {
    this.#options = options;
    this.#server = http.createServer(LIMITS, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.timeout = IDLE_SOCKET_MS;
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.maxHeadersCount = MAX_HEADERS;
    this.#server.on("clientError", refuseUnreadable);
  }

  /**
   * Binds the address and begins to answer.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE`, `SHIMMY_ERR_ADDRESS_NOT_AVAILABLE` or
   * `SHIMMY_ERR_SYSTEM` that names the address.
   */
  static async listen(options: AdminServerOptions): Promise<AdminServer> {
    const server = new AdminServer(options);
    const { address: host, port } = options;
    try {
      await new Promise<void>((resolve, reject) => {
        server.#server.once("error", reject).listen({ host, port }, resolve);
      });
    } catch (err) {
      throw explainListen(err, `admin address ${formatAddress(options)}`);
    }
    return server;
  }

  /** Where it listens, with the port that the kernel chose if it was to. */
  get address(): ListenAddress {
    const { address, port } = this.#server.address() as AddressInfo;
    return { address, port };
  }

  /** Closes the listener and every connection. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
      this.#server.closeAllConnections();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      refuse(request);
      const [path = "/", query] = (request.url ?? "/").split("?", 2);
      const { routes } = this.#options;
      const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
      if (route === undefined) {
        const known = Object.keys(routes).join(" ");
        throw new ShimmyError("SHIMMY_ERR_NOT_FOUND", `no such path, there are ${known}`);
      }
      send(response, await route(new URLSearchParams(query)));
    } catch (err) {
      this.#sendError(response, toShimmyError(err));
    }
  }

  #sendError(response: ServerResponse, error: ShimmyError): void {
    const { code, message } = error;
    const status = STATUS_BY_CODE.get(code) ?? 500;
    if (status === 500) this.#options.log.error({ err: error }, "admin request failed");
    if (status === 405) response.setHeader("Allow", "GET");
    // What else comes on this connection, a body for one, is not read.
    response.setHeader("Connection", "close");
    send(response, { status, body: JSON.stringify({ code, message }) });
  }
}

/** An address as it is written in a URL. */
export function formatAddress({ address, port }: ListenAddress): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** @throws {@link ShimmyError} The first thing that is wrong with a request. */
function refuse({ method = "", headers }: IncomingMessage): void {
  if (!isLocalHost(headers.host)) {
    throw new ShimmyError("SHIMMY_ERR_PROTOCOL", "the host must be an address or localhost");
  }
  if (method !== "GET") {
    throw new ShimmyError("SHIMMY_ERR_METHOD_NOT_ALLOWED", "only GET is allowed");
  }
  const length = headers["content-length"] ?? "0";
  if (length !== "0" || headers["transfer-encoding"] !== undefined) {
    throw new ShimmyError("SHIMMY_ERR_LIMIT", "a request must not have a body");
  }
}

/** A name other than localhost may be anybody's; an address is ours, or the request was not for us. */
function isLocalHost(host = ""): boolean {
  const [, v6, other = ""] = /^(?:\[([^\]]{2,45})\]|([^:]{1,255}))(?::\d{1,5})?$/.exec(host) ?? [];
  if (v6 !== undefined) return isIP(v6) === 6;
  return isIP(other) === 4 || other.toLowerCase() === "localhost";
}

function send(
  response: ServerResponse,
  { status = 200, contentType = "application/json", body }: AdminReply,
): void {
  response.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body);
}

/** Answers what is no request, for the event `clientError`. */
export function refuseUnreadable(err: NodeJS.ErrnoException, socket: Duplex): void {
  if (err.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = STATUS_BY_CLIENT_ERROR.get(err.code ?? "") ?? "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
}

const LISTEN_ERRORS: Readonly<Record<string, readonly [ShimmyErrorCode, string]>> = {
  EADDRINUSE: ["SHIMMY_ERR_ADDRESS_IN_USE", "another program listens there"],
  EADDRNOTAVAIL: ["SHIMMY_ERR_ADDRESS_NOT_AVAILABLE", "not an address of this machine"],
  EACCES: ["SHIMMY_ERR_SYSTEM", "not allowed"],
};

/** What a failed listen means. @param what - Names the address. */
export function explainListen(err: unknown, what: string): ShimmyError {
  const errno = err instanceof Error && "code" in err ? String(err.code) : "";
  const { message } = toShimmyError(err);
  const [code, text] = LISTEN_ERRORS[errno] ?? (["SHIMMY_ERR_SYSTEM", message] as const);
  return new ShimmyError(code, `${what}: ${text}`, { cause: err });
}
