import { setTimeout as delay } from "node:timers/promises";

import { Backoff } from "../../common/backoff.ts";
import { messageOf, ShimmyError } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import { asEvent, CLOUD_EVENT_TYPE } from "./cloud-event.ts";
import type { TopicCounters } from "./counters.ts";
import { feed, type Sink } from "./feed.ts";
import { Resume } from "./position.ts";
import type { PushTarget } from "./push-targets.ts";
import type { TopicReaders } from "./readers.ts";
import type { TopicEvent } from "./render.ts";
import type { Delivery } from "./transport.ts";

const http = process.getBuiltinModule("node:http");

const RETRY = { initialMs: 100, maxMs: 30_000 } as const;
const ANSWER_MS = 30_000;
const MAX_RESPONSE_HEADER = 16_384;

/** Options for {@link PushLoop}. */
export interface PushOptions {
  /** Its topic whole. */
  readonly target: PushTarget;
  readonly readers: TopicReaders;
  readonly counters: TopicCounters;
  readonly log: Logger;
  /** @defaultValue {@link RETRY} */
  readonly retry?: { readonly initialMs: number; readonly maxMs: number };
}

/**
 * Sends a topic's messages to the pod's application, one POST each and one after the other. A message
 * has arrived when the answer is 2xx; until then it is sent again, for ever. A redirect is an answer
 * like any other that is not 2xx.
 */
export class PushLoop implements Sink {
  readonly #options: PushOptions;
  readonly #end = new AbortController();
  readonly #ended: Promise<void>;
  readonly #backoff: Backoff;

  /** Begins. */
  constructor(options: PushOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.retry ?? RETRY);
    this.#ended = this.#run();
  }

  async send(event: TopicEvent): Promise<void> {
    if (event.kind !== "message") return;
    const { counters, log, target } = this.#options;
    for (;;) {
      try {
        await this.#post(event.delivery, event.id);
        this.#backoff.reset();
        return;
      } catch (err) {
        this.#end.signal.throwIfAborted();
        counters.pushFailures += 1;
        const retryMs = this.#backoff.next();
        const { topic, url } = target;
        log.warn({ topic, url, problem: messageOf(err), retryMs }, "push failed");
        await delay(retryMs, undefined, { signal: this.#end.signal });
      }
    }
  }

  /** Stops; a message whose answer has not come goes to whoever reads next. */
  async close(): Promise<void> {
    this.#end.abort(new ShimmyError("SHIMMY_ERR_CLOSED", "the sidecar is stopping"));
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { readers, counters, log, target } = this.#options;
    const { signal } = this.#end;
    const { topic, url } = target;
    while (!isAborted(signal)) {
      try {
        const subscription = await readers.subscribe({ topic, start: "newest" });
        this.#backoff.reset();
        log.info({ topic, url }, "push begins");
        const resume = new Resume("newest");
        await feed({ subscription, sink: this, protocol: "push", resume, counters, signal });
      } catch (err) {
        if (isAborted(signal)) return;
        log.warn({ topic, url, problem: messageOf(err) }, "push cannot read");
      }
      await delay(this.#backoff.next(), undefined, { signal }).catch(() => undefined);
    }
  }

  #post({ data, sequence, generation, missed }: Delivery, id: string): Promise<void> {
    const { topic, url, format } = this.#options.target;
    const event = format === "cloudevents" ? asEvent(data) : undefined;
    const body = event === undefined ? data : Buffer.from(event);
    const target = new URL(url);
    // Whatever the resolver says of localhost, this is where it leads.
    if (target.hostname === "localhost") target.hostname = "127.0.0.1";
    const answered = Promise.withResolvers<undefined>();
    const request = http.request(target, {
      method: "POST",
      agent: false,
      maxHeaderSize: MAX_RESPONSE_HEADER,
      signal: AbortSignal.any([this.#end.signal, AbortSignal.timeout(ANSWER_MS)]),
      headers: {
        "Content-Type": event === undefined ? "application/octet-stream" : CLOUD_EVENT_TYPE,
        "Content-Length": body.length,
        "Shimmy-Topic": topic,
        "Shimmy-Sequence": String(sequence),
        "Shimmy-Generation": String(generation),
        "Shimmy-Missed": String(missed),
        ...(id === "" ? {} : { "Shimmy-Id": id }),
      },
    });
    request.on("error", answered.reject);
    request.on("response", (response) => {
      const { statusCode = 0 } = response;
      response.destroy();
      if (statusCode >= 200 && statusCode < 300) answered.resolve(undefined);
      else answered.reject(new ShimmyError("SHIMMY_ERR_PROTOCOL", `the answer was ${statusCode}`));
    });
    request.end(body);
    return answered.promise;
  }
}

/** A call, because it changes while others are awaited. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
