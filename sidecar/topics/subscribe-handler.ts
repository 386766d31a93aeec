import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

import { messageOf, ShimmyError } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import type { TopicCounters, TopicProtocol } from "./counters.ts";
import { feed, type Sink } from "./feed.ts";
import { parseFrom, Resume } from "./position.ts";
import type { TopicRequest } from "./publish-handler.ts";
import { parseSubscribeQuery, type SubscribeQuery } from "./query.ts";
import type { TopicReaders } from "./readers.ts";
import { TopicRefusal } from "./refusal.ts";
import { toJsonLine, toServerSentEvent, type TopicEvent } from "./render.ts";
import { ResponseSink } from "./response-sink.ts";
import type { Subscription } from "./shared-consumer.ts";
import { acceptWebSocket, WebSocketSink } from "./web-socket.ts";

/** A request to become a WebSocket. */
export interface UpgradeRequest {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  /** `namespace/name`. */
  readonly topic: string;
  readonly query: URLSearchParams;
}

/** What a {@link SubscribeHandler} works with. */
export interface SubscribeHandlerDeps {
  readonly readers: TopicReaders;
  readonly counters: TopicCounters;
  readonly log: Logger;
}

/** A subscriber that is about to be fed. */
interface Opened {
  readonly topic: string;
  readonly subscription: Subscription;
  readonly resume: Resume;
  readonly max: number;
}

const EVENT_STREAM = "text/event-stream";
const JSON_LINES = "application/x-ndjson";

/** Answers `GET /v1/topics/NAME`, by one of three protocols. */
export class SubscribeHandler {
  readonly #deps: SubscribeHandlerDeps;
  readonly #stop = new AbortController();
  readonly #feeds = new Set<Promise<void>>();

  constructor(deps: SubscribeHandlerDeps) {
    this.#deps = deps;
  }

  /** @throws {@link ShimmyError} What the request is refused with. */
  async handle({ request, response, topic, query }: TopicRequest): Promise<void> {
    const type = negotiate(request.headers.accept);
    const asked = parseSubscribeQuery(query);
    if (asked.isAcknowledged) throw invalid("ack=true is for WebSocket only");
    const gone = new AbortController();
    response.once("close", () => {
      gone.abort(new ShimmyError("SHIMMY_ERR_CLOSED", "the client has gone"));
    });
    const opened = await this.#open(topic, asked, request);
    const isEvents = type === EVENT_STREAM;
    const render = isEvents ? toServerSentEvent : toJsonLines;
    const sink = new ResponseSink(response, type, (event) => render(event, asked.format));
    await this.#feed(opened, { sink, protocol: isEvents ? "sse" : "ndjson", gone: gone.signal });
    sink.close();
  }

  /** @throws {@link ShimmyError} What the request is refused with. */
  async upgrade({ request, socket, head, topic, query }: UpgradeRequest): Promise<void> {
    if (request.method !== "GET" || request.headers.upgrade?.toLowerCase() !== "websocket") {
      throw invalid("the only upgrade is to websocket, by GET");
    }
    const asked = parseSubscribeQuery(query);
    const gone = new AbortController();
    socket.once("close", () => {
      gone.abort(new ShimmyError("SHIMMY_ERR_CLOSED", "the client has gone"));
    });
    const opened = await this.#open(topic, asked, request);
    const { format, isAcknowledged } = asked;
    const client = await orGone(acceptWebSocket(request, socket, head), gone.signal).catch(
      (err: unknown) => {
        opened.subscription.close();
        throw err;
      },
    );
    const sink = new WebSocketSink(client, { format, isAcknowledged });
    const err = await this.#feed(opened, { sink, protocol: "websocket", gone: gone.signal });
    const [code, reason] = this.#stop.signal.aborted ? [1001, "stopping"] : closing(err);
    await sink.close(code, reason);
  }

  /** Ends all subscribers. */
  stop(): void {
    this.#stop.abort(new ShimmyError("SHIMMY_ERR_CLOSED", "the sidecar is stopping"));
  }

  /** Waits until all have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#feeds);
  }

  async #open(topic: string, asked: SubscribeQuery, request: IncomingMessage): Promise<Opened> {
    const lastId = request.headers["last-event-id"];
    const resume = new Resume(
      parseFrom(asked.from, typeof lastId === "string" ? lastId : undefined),
    );
    const { create, max } = asked;
    const options = { topic, start: resume.start, ...(create === undefined ? {} : { create }) };
    const subscription = await this.#deps.readers.subscribe(options);
    if (subscription.kind === "lock" && asked.from !== null) {
      subscription.close();
      throw invalid("from is for lock-free topics: messages of a lock-based one are read once");
    }
    return { topic, subscription, resume, max };
  }

  /** @returns What ended it, if it was neither the channel's end nor enough. */
  async #feed(
    { topic, subscription, resume, max }: Opened,
    to: { readonly sink: Sink; readonly protocol: TopicProtocol; readonly gone: AbortSignal },
  ): Promise<unknown> {
    const { counters, log } = this.#deps;
    const { sink, protocol } = to;
    const signal = AbortSignal.any([to.gone, this.#stop.signal]);
    log.info({ topic, protocol }, "topic subscriber");
    const running = feed({ subscription, sink, protocol, resume, counters, signal, max });
    const settled = running.catch(() => undefined);
    this.#feeds.add(settled);
    try {
      await running;
      log.info({ topic, protocol }, "topic subscriber has all");
      return undefined;
    } catch (err) {
      log.info({ topic, protocol, problem: messageOf(err) }, "topic subscriber ended");
      return err;
    } finally {
      this.#feeds.delete(settled);
    }
  }
}

/** @throws `SHIMMY_ERR_INVALID_OPTION` when the client has gone, or its request was no handshake. */
async function orGone<T>(action: Promise<T>, signal: AbortSignal): Promise<T> {
  const gone = Promise.withResolvers<never>();
  const abort = (): void => {
    gone.reject(invalid("no WebSocket came of it"));
  };
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([action, gone.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function toJsonLines(event: TopicEvent, format: SubscribeQuery["format"]): string {
  return `${toJsonLine(event, format)}\n`;
}

/** The first type in Accept that there is. */
function negotiate(accept = "*/*"): string {
  for (const entry of accept.split(",")) {
    const type = entry.split(";", 1)[0]?.trim().toLowerCase() ?? "";
    if (type === EVENT_STREAM) return EVENT_STREAM;
    if ([JSON_LINES, "application/ndjson", "application/*", "*/*"].includes(type))
      return JSON_LINES;
  }
  throw new TopicRefusal(
    "not_acceptable",
    "SHIMMY_ERR_INVALID_OPTION",
    `there are ${EVENT_STREAM}, ${JSON_LINES} and WebSocket`,
  );
}

/** https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1 */
function closing(err: unknown): readonly [number, string] {
  if (err === undefined) return [1000, "end"];
  const code = err instanceof ShimmyError ? err.code : "SHIMMY_ERR_INTERNAL";
  return [code === "SHIMMY_ERR_SLOW_READER" ? 1008 : 1011, code];
}

function invalid(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_OPTION", message);
}
