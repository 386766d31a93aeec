import type { IncomingMessage, ServerResponse } from "node:http";

import { ShimmyError } from "../../common/errors.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { toMessage } from "./cloud-event.ts";
import type { TopicCounters } from "./counters.ts";
import { requireContentType } from "./guard.ts";
import { parsePublishQuery } from "./query.ts";
import type { TopicWriter } from "./transport.ts";
import type { TopicWriters } from "./writers.ts";

/** A request for a topic. */
export interface TopicRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** `namespace/name`. */
  readonly topic: string;
  readonly query: URLSearchParams;
}

/** What a {@link PublishHandler} works with. */
export interface PublishHandlerDeps {
  readonly writers: TopicWriters;
  readonly budget: ByteBudget;
  readonly counters: TopicCounters;
}

/** Answers `POST /v1/topics/NAME`: the body is one message. */
export class PublishHandler {
  readonly #deps: PublishHandlerDeps;

  constructor(deps: PublishHandlerDeps) {
    this.#deps = deps;
  }

  /** @throws {@link ShimmyError} What the request is refused with. */
  async handle({ request, response, topic, query }: TopicRequest): Promise<void> {
    const type = requireContentType(request.headers);
    const { timeoutMs, create } = parsePublishQuery(query);
    const { writers, counters } = this.#deps;
    const options = { topic, ...(create === undefined ? {} : { create }) };
    await writers.use(options, async (writer) => {
      const bytes = await this.#publish(writer, { request, response, type, timeoutMs });
      counters.published += 1;
      counters.publishedBytes += bytes;
    });
    const body = `${JSON.stringify({ topic })}\n`;
    response.writeHead(202, {
      "Content-Type": "application/json",
      "Content-Length": Buffer.byteLength(body),
      "Cache-Control": "no-store",
      "X-Content-Type-Options": "nosniff",
    });
    response.end(body);
  }

  async #publish(
    writer: TopicWriter,
    given: Pick<TopicRequest, "request" | "response"> & { type: string; timeoutMs: number },
  ): Promise<number> {
    const { request, response, type, timeoutMs } = given;
    const { budget } = this.#deps;
    const limit = largest(writer, budget);
    // How long a body without a length gets is not known before its end.
    const length = request.headers["content-length"];
    const expected = length === undefined ? limit.bytes : Number(length);
    if (expected > limit.bytes) throw tooBig(limit);
    const gone = new AbortController();
    const abort = (): void => {
      gone.abort(new ShimmyError("SHIMMY_ERR_CLOSED", "the client has gone"));
    };
    response.once("close", abort);
    const giveBack = await budget.take(expected, gone.signal);
    try {
      if (request.headers.expect !== undefined) response.writeContinue();
      const message = toMessage(type, request.headers, await readBody(request, limit));
      if (message.length > writer.maxBytes) throw tooBig({ ...limit, bytes: writer.maxBytes });
      await writer.publish(message, timeoutMs);
      return message.length;
    } finally {
      response.off("close", abort);
      giveBack();
    }
  }
}

interface Limit {
  readonly bytes: number;
  readonly what: string;
}

function largest({ maxBytes }: TopicWriter, { totalBytes }: ByteBudget): Limit {
  return maxBytes <= totalBytes
    ? { bytes: maxBytes, what: "the channel's largest message" }
    : { bytes: totalBytes, what: "what SHIMMY_TOPICS_BUFFER allows" };
}

async function readBody(request: IncomingMessage, limit: Limit): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limit.bytes) throw tooBig(limit);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes);
}

function tooBig({ bytes, what }: Limit): ShimmyError {
  return new ShimmyError(
    "SHIMMY_ERR_MESSAGE_TOO_BIG",
    `a message has at most ${bytes} bytes, ${what}`,
  );
}
