import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

import { explainListen, formatAddress, refuseUnreadable } from "../../common/admin-server.ts";
import type { Clock } from "../../common/clock.ts";
import type { ListenAddress } from "../../common/env-parsers.ts";
import { messageOf } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import { ByteBudget } from "./byte-budget.ts";
import type { TopicCounters } from "./counters.ts";
import { refuseForeign } from "./guard.ts";
import { PublishHandler } from "./publish-handler.ts";
import { PushLoop } from "./push.ts";
import type { PushTarget } from "./push-targets.ts";
import { TopicReaders } from "./readers.ts";
import { TopicRefusal } from "./refusal.ts";
import { SubscribeHandler } from "./subscribe-handler.ts";
import { qualifyTopic, topicOfPath } from "./topic-path.ts";
import type { TopicTransport } from "./transport.ts";
import { TopicWriters } from "./writers.ts";

// See common/admin-server.ts.
const http = process.getBuiltinModule("node:http");

const LIMITS = {
  maxHeaderSize: 16_384,
  headersTimeout: 5000,
  requestTimeout: 30_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
} as const;
const MAX_HEADERS = 100;
/** On each address. */
const MAX_CONNECTIONS = 256;
const HANG_UP_MS = 1000;
const RETRY_AFTER_SECONDS = "1";

/** Options for {@link TopicServer.listen}. */
export interface TopicServerOptions {
  /** On loopback. One of IPv6 is left out where IPv6 is off. */
  readonly addresses: readonly ListenAddress[];
  /** Origins whose pages may use topics. */
  readonly origins: readonly string[];
  /** Bytes of messages being received that are held at once. */
  readonly bufferBytes: number;
  readonly push: readonly PushTarget[];
  /** Namespace of the pod. */
  readonly namespace: string;
  readonly transport: TopicTransport;
  readonly counters: TopicCounters;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Topics over HTTP, for the programs of this pod. docs/reference/topics-http.md */
export class TopicServer {
  readonly #options: TopicServerOptions;
  readonly #servers: Server[] = [];
  readonly #writers: TopicWriters;
  readonly #readers: TopicReaders;
  readonly #publish: PublishHandler;
  readonly #subscribe: SubscribeHandler;
  readonly #pushes: readonly PushLoop[];
  #isDraining = false;

  private constructor(options: TopicServerOptions) {
    const { transport, counters, clock, log, bufferBytes, push, namespace } = options;
    this.#options = options;
    this.#writers = new TopicWriters(transport, clock);
    this.#readers = new TopicReaders(transport, counters);
    const budget = new ByteBudget(bufferBytes);
    this.#publish = new PublishHandler({ writers: this.#writers, budget, counters });
    this.#subscribe = new SubscribeHandler({ readers: this.#readers, counters, log });
    this.#pushes = push.map((target) => {
      const topic = qualifyTopic(target.topic, namespace) ?? target.topic;
      return new PushLoop({ target: { ...target, topic }, readers: this.#readers, counters, log });
    });
  }

  /**
   * Binds all addresses and begins to answer, and to push.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE`, `SHIMMY_ERR_ADDRESS_NOT_AVAILABLE` or
   * `SHIMMY_ERR_SYSTEM` that names the address.
   */
  static async listen(options: TopicServerOptions): Promise<TopicServer> {
    const server = new TopicServer(options);
    try {
      for (const address of options.addresses) await server.#bind(address);
      return server;
    } catch (err) {
      await server.abort();
      throw err;
    }
  }

  /** Where it listens, with the ports that the kernel chose if it was to. */
  get addresses(): readonly ListenAddress[] {
    return this.#servers.map((server) => {
      const { address, port } = server.address() as AddressInfo;
      return { address, port };
    });
  }

  /**
   * Takes no new requests, ends subscribers after the message they are being sent, lets those that
   * publish finish for `timeoutMs`, and closes everything.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#isDraining = true;
    const closed = Promise.all(this.#servers.map(closeServer));
    this.#subscribe.stop();
    await Promise.all(this.#pushes.map((push) => push.close()));
    const cut = setTimeout(() => {
      for (const server of this.#servers) server.closeAllConnections();
    }, timeoutMs);
    for (const server of this.#servers) server.closeIdleConnections();
    await closed;
    await this.#subscribe.ended();
    clearTimeout(cut);
    await this.#close();
  }

  /** Closes everything now. */
  async abort(): Promise<void> {
    this.#isDraining = true;
    const closed = Promise.all(this.#servers.map(closeServer));
    this.#subscribe.stop();
    for (const server of this.#servers) server.closeAllConnections();
    await Promise.all(this.#pushes.map((push) => push.close()));
    await this.#close();
    await closed;
  }

  async #close(): Promise<void> {
    this.#readers.close();
    this.#writers.close();
    await this.#options.transport.close();
  }

  async #bind(address: ListenAddress): Promise<void> {
    const server = http.createServer(LIMITS);
    server.maxHeadersCount = MAX_HEADERS;
    server.maxConnections = MAX_CONNECTIONS;
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#answer(request, response);
    };
    server.on("request", answer);
    // A body is asked for when there is room for it.
    server.on("checkContinue", answer);
    server.on("upgrade", (request, socket, head) => {
      void this.#upgrade(request, socket, head);
    });
    server.on("clientError", (err, socket) => {
      this.#options.counters.refused.bad_request += 1;
      refuseUnreadable(err, socket);
      hangUp(socket);
    });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ host: address.address, port: address.port }, resolve);
      });
      this.#servers.push(server);
    } catch (err) {
      const { code } = err as NodeJS.ErrnoException;
      const isOff = code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT";
      if (isOff && address.address.includes(":")) return;
      throw explainListen(err, `topics address ${formatAddress(address)}`);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { topic, query } = this.#admit(request);
      if (request.method === "POST")
        await this.#publish.handle({ request, response, topic, query });
      else await this.#subscribe.handle({ request, response, topic, query });
    } catch (err) {
      this.#refuse(err, request, response);
    }
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on("error", () => {
      // Its close event follows.
    });
    try {
      const { topic, query } = this.#admit(request);
      await this.#subscribe.upgrade({ request, socket, head, topic, query });
    } catch (err) {
      const refusal = this.#count(err, request);
      if (!socket.writable) return;
      const body = JSON.stringify(refusal.problem);
      socket.end(
        `HTTP/1.1 ${refusal.status} ${http.STATUS_CODES[refusal.status] ?? ""}\r\n` +
          `Content-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
          `Connection: close\r\n\r\n${body}`,
      );
      hangUp(socket);
    }
  }

  /** @throws {@link TopicRefusal} The first thing that is wrong with a request. */
  #admit(request: IncomingMessage): { topic: string; query: URLSearchParams } {
    const { headers, method, url = "/" } = request;
    refuseForeign(headers, this.#options.origins);
    if (this.#isDraining) {
      throw new TopicRefusal("draining", "SHIMMY_ERR_CLOSED", "the sidecar is stopping");
    }
    const [path = "/", query] = url.split("?", 2);
    let topic: string;
    try {
      topic = topicOfPath(path, this.#options.namespace);
    } catch (err) {
      throw new TopicRefusal("path", "SHIMMY_ERR_NOT_FOUND", messageOf(err));
    }
    if (method !== "GET" && method !== "POST") {
      throw new TopicRefusal("method", "SHIMMY_ERR_METHOD_NOT_ALLOWED", "GET and POST are allowed");
    }
    return { topic, query: new URLSearchParams(query) };
  }

  #refuse(err: unknown, request: IncomingMessage, response: ServerResponse): void {
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    const { status, problem } = this.#count(err, request);
    const body = `${JSON.stringify(problem)}\n`;
    response.writeHead(status, {
      "Content-Type": "application/problem+json",
      "Content-Length": Buffer.byteLength(body),
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
      ...(status === 503 ? { "Retry-After": RETRY_AFTER_SECONDS } : {}),
      ...(status === 405 ? { Allow: "GET, POST" } : {}),
      // A body that waits to be asked for may not come at all.
      ...(request.headers.expect === undefined ? {} : { Connection: "close" }),
    });
    // What comes of another one is not kept, and is over when the time for a request is: to close
    // while it comes would reset the connection, and the client might never read why.
    request.resume();
    response.end(body);
  }

  #count(err: unknown, { method, url }: IncomingMessage): TopicRefusal {
    const refusal = TopicRefusal.of(err);
    this.#options.counters.refused[refusal.refusal] += 1;
    const { code, message, refusal: reason } = refusal;
    const fields = { method, url: url?.slice(0, 200), reason, code, problem: message };
    if (reason === "internal") this.#options.log.error({ ...fields, err }, "topic request failed");
    else this.#options.log.debug(fields, "topic request refused");
    return refusal;
  }
}

/** A client that was answered, and does not close, is not waited for. */
function hangUp(socket: Duplex): void {
  const timer = setTimeout(() => {
    socket.destroy();
  }, HANG_UP_MS).unref();
  socket.once("close", () => {
    clearTimeout(timer);
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}
