import { Pool, type Dispatcher } from "undici";

import { messageOf } from "../errors.ts";
import { VERSION } from "../version.ts";
import type { ClusterAccess, Credentials } from "./access.ts";
import { ApiError, statusError } from "./api-error.ts";

/** One request. */
export interface ApiRequest {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  /** `Host` header, for what lies behind the server. @defaultValue the server's own */
  readonly host?: string | undefined;
  /** Sent as JSON; that of PATCH is a merge patch (RFC 7386), or a list: a JSON patch (RFC 6902). */
  readonly body?: unknown;
  /** Longest time until the whole answer is there. @defaultValue 30 s */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Called when the server has accepted a request whose answer is read as it comes. */
  readonly onAccepted?: () => void;
}

/** What the parts above need of the API server. */
export interface KubernetesApi {
  /**
   * Asks and reads the whole answer.
   *
   * @throws {@link ApiError} when there is none, or the server refuses.
   */
  request(request: ApiRequest): Promise<unknown>;
  /**
   * Asks and gives the answer as it comes; its chunks end anywhere. Leaving the loop ends the request.
   *
   * @throws {@link ApiError} when the server refuses, or the connection is lost.
   */
  stream(request: ApiRequest): AsyncIterable<Buffer>;
}

const REQUEST_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** Largest answer that is read: a page of a list with 500 large pods has some 25 MiB. */
const MAX_BODY_BYTES = 128 * 1024 * 1024;
/** How long credentials are used before the files are read again. */
const CREDENTIALS_MS = 30_000;

interface Connection {
  readonly pool: Pool;
  readonly material: string;
  readonly token: string | undefined;
  readonly readAt: number;
}

/** A client of one API server over HTTP/1.1; watches have a connection each. */
export class ApiClient implements KubernetesApi {
  readonly #access: ClusterAccess;
  #connection: Connection | undefined;

  constructor(access: ClusterAccess) {
    this.#access = access;
  }

  async request(request: ApiRequest): Promise<unknown> {
    const { timeoutMs = REQUEST_TIMEOUT_MS } = request;
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal =
      request.signal === undefined ? deadline : AbortSignal.any([request.signal, deadline]);
    const response = await this.#send(request, { signal, bodyTimeout: timeoutMs });
    try {
      return JSON.parse(await readBody(response)) as unknown;
    } catch (err) {
      throw unanswered(request, err);
    }
  }

  async *stream(request: ApiRequest): AsyncIterable<Buffer> {
    const stop = new AbortController();
    const signal =
      request.signal === undefined ? stop.signal : AbortSignal.any([request.signal, stop.signal]);
    try {
      // Whoever reads the stream decides how long it may be silent.
      const response = await this.#send(request, { signal, bodyTimeout: 0 });
      request.onAccepted?.();
      for await (const chunk of response.body) yield chunk as Buffer;
    } catch (err) {
      throw err instanceof ApiError ? err : unanswered(request, err);
    } finally {
      stop.abort();
    }
  }

  /** Ends every request. */
  async close(): Promise<void> {
    await this.#connection?.pool.destroy();
    this.#connection = undefined;
  }

  async #send(
    request: ApiRequest,
    limits: { signal: AbortSignal; bodyTimeout: number },
  ): Promise<Dispatcher.ResponseData> {
    const { method = "GET", path, query, host, body, timeoutMs = REQUEST_TIMEOUT_MS } = request;
    let response: Dispatcher.ResponseData;
    try {
      const { pool, token } = await this.#connect();
      response = await pool.request({
        method,
        path: path + queryText(query),
        headers: {
          accept: "application/json",
          "user-agent": `shimmy/${VERSION}`,
          ...(host === undefined ? {} : { host }),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-type": contentType(method, body) }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        headersTimeout: timeoutMs,
        ...limits,
      });
    } catch (err) {
      throw unanswered(request, err);
    }
    if (response.statusCode >= 300) throw await this.#refusal(request, response);
    return response;
  }

  async #refusal(request: ApiRequest, response: Dispatcher.ResponseData): Promise<ApiError> {
    // The token may have been replaced since it was read.
    if (response.statusCode === 401 && this.#connection !== undefined) {
      this.#connection = { ...this.#connection, readAt: Number.NEGATIVE_INFINITY };
    }
    const text = await readBody(response).catch(() => "");
    const retryAfter = response.headers["retry-after"];
    return statusError(
      describe(request),
      response.statusCode,
      parseOr(text),
      typeof retryAfter === "string" ? retryAfter : undefined,
    );
  }

  /** The connections with the credentials of now; new ones when the certificates have changed. */
  async #connect(): Promise<Connection> {
    const current = this.#connection;
    const now = performance.now();
    if (current !== undefined && now - current.readAt < CREDENTIALS_MS) return current;
    const { token, ...tls } = await this.#access.credentials();
    const material = JSON.stringify(tls);
    const isSame = current?.material === material;
    const pool = isSame ? current.pool : openPool(this.#access.server, tls);
    this.#connection = { pool, material, token, readAt: now };
    // Requests under way end by themselves; watches are made again.
    if (current !== undefined && !isSame) void current.pool.close().catch(() => undefined);
    return this.#connection;
  }
}

function openPool(server: string, tls: Omit<Credentials, "token">): Pool {
  return new Pool(server, {
    connect: { ...tls, timeout: CONNECT_TIMEOUT_MS },
    allowH2: false,
    pipelining: 1,
  });
}

function queryText(query: ApiRequest["query"] = {}): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined) parameters.set(key, String(value));
  }
  return parameters.size === 0 ? "" : `?${parameters.toString()}`;
}

function contentType(method: string, body: unknown): string {
  if (method !== "PATCH") return "application/json";
  return Array.isArray(body) ? "application/json-patch+json" : "application/merge-patch+json";
}

async function readBody({ body }: Dispatcher.ResponseData): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > MAX_BODY_BYTES) throw new Error(`an answer of more than ${MAX_BODY_BYTES} bytes`);
  }
  return Buffer.concat(chunks).toString();
}

function parseOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { message: text };
  }
}

function describe({ method = "GET", path }: ApiRequest): string {
  return `${method} ${path}`;
}

function unanswered(request: ApiRequest, err: unknown): ApiError {
  if (err instanceof ApiError) return err;
  return new ApiError(`${describe(request)}: ${messageOf(err)}`, { status: 0, cause: err });
}
