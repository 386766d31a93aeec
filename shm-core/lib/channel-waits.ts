import { ShimmyError } from "../../common/errors.ts";
import { EventKind } from "./native.ts";
import { KeepAlive, onNativeEvent } from "./native-events.ts";
import { areStreamsWaitedFor } from "./stream-waits.ts";

/** How long a call may take. */
export interface WaitOptions {
  /** In ms; `Infinity` for ever. @defaultValue Infinity */
  readonly timeoutMs?: number;
}

/** How long an asynchronous call may take. */
export interface AsyncWaitOptions extends WaitOptions {
  /** The call rejects with the signal's reason when it is aborted. */
  readonly signal?: AbortSignal;
}

/** Who waits: reachable from here, so that it is not collected as garbage. */
const waiting = new Map<number, ChannelWaits>();

onNativeEvent(EventKind.channelReady, (id) => {
  waiting.get(id)?.ready();
});

/** Whether anybody waits on this thread: then spinning would hold them up. */
export function isAnybodyWaiting(): boolean {
  return waiting.size > 0 || areStreamsWaitedFor();
}

/**
 * Returns a time limit.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for what is none.
 */
export function resolveTimeout(timeoutMs: number | undefined): number {
  if (timeoutMs === undefined) return Infinity;
  if (timeoutMs >= 0) return timeoutMs;
  throw new ShimmyError(
    "SHIMMY_ERR_INVALID_OPTION",
    `timeoutMs must be 0 or more, got ${timeoutMs}`,
  );
}

/** What ends a call early. */
class Limit implements Disposable {
  readonly #signal: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #reason: unknown;
  /** Called once when the limit is reached. */
  onReached: (() => void) | undefined;

  constructor({ timeoutMs, signal }: AsyncWaitOptions) {
    const limitMs = resolveTimeout(timeoutMs);
    signal?.throwIfAborted();
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort, { once: true });
    if (limitMs === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#reach(new ShimmyError("SHIMMY_ERR_TIMEOUT", `not done within ${limitMs} ms`));
    }, limitMs);
  }

  /** @throws What the call ends with, if it is to end. */
  check(): void {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- a signal's reason is anything
    if (this.#reason !== undefined) throw this.#reason;
  }

  [Symbol.dispose](): void {
    this.onReached = undefined;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
  }

  readonly #abort = (): void => {
    this.#reach(this.#signal?.reason);
  };

  #reach(reason: unknown): void {
    this.#reason ??= reason;
    this.onReached?.();
  }
}

/** One step of a call: whether it is done. `false`: a native event will tell when to go on. */
export type Step = () => boolean;

/**
 * The asynchronous calls of one endpoint, done in their order.
 *
 * Invariant: the event loop, and the endpoint, are kept alive exactly while a wait is pending.
 */
export class ChannelWaits {
  readonly #id: number;
  readonly #keepAlive = new KeepAlive();
  #last: Promise<unknown> | undefined;
  #pending: PromiseWithResolvers<void> | undefined;

  /** @param id - The native endpoint. */
  constructor(id: number) {
    this.#id = id;
  }

  /** Whether a call is under way, so that another one has to wait for its turn. */
  get isBusy(): boolean {
    return this.#last !== undefined;
  }

  /**
   * Repeats `step` until it is done, after all earlier calls have been.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when the time is over.
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` when the endpoint is closed meanwhile.
   */
  perform(step: Step, options: AsyncWaitOptions): Promise<void> {
    const before = this.#last;
    const call = this.#perform(before, step, options);
    const settled = call.then(ignore, ignore);
    const last = before === undefined ? settled : Promise.all([before, settled]);
    this.#last = last;
    void last.then(() => {
      if (this.#last === last) this.#last = undefined;
    });
    return call;
  }

  /** The endpoint may go on; it may be a false alarm. */
  ready(): void {
    const pending = this.#pending;
    this.#letGo();
    pending?.resolve();
  }

  /** Rejects what is pending: the endpoint is closed. */
  cancel(): void {
    const pending = this.#pending;
    this.#letGo();
    pending?.reject(new ShimmyError("SHIMMY_ERR_CLOSED", "the endpoint was closed"));
  }

  async #perform(
    before: Promise<unknown> | undefined,
    step: Step,
    options: AsyncWaitOptions,
  ): Promise<void> {
    const isLimited = options.timeoutMs !== undefined || options.signal !== undefined;
    using limit = isLimited ? new Limit(options) : undefined;
    if (before !== undefined) await orReached(before, limit);
    while (!step()) await this.#ready(limit);
  }

  async #ready(limit: Limit | undefined): Promise<void> {
    const pending = Promise.withResolvers<undefined>() as PromiseWithResolvers<void>;
    this.#pending = pending;
    this.#keepAlive.hold();
    waiting.set(this.#id, this);
    if (limit !== undefined) {
      limit.onReached = () => {
        this.ready();
      };
    }
    await pending.promise;
    limit?.check();
  }

  #letGo(): void {
    this.#pending = undefined;
    this.#keepAlive.release();
    waiting.delete(this.#id);
  }
}

/** Waits for a turn, but no longer than the limit allows. */
async function orReached(turn: Promise<unknown>, limit: Limit | undefined): Promise<void> {
  if (limit === undefined) {
    await turn;
    return;
  }
  const reached = Promise.withResolvers<undefined>();
  limit.onReached = () => {
    reached.resolve(undefined);
  };
  await Promise.race([turn, reached.promise]);
  limit.check();
}

function ignore(): void {
  // What a call ends with is told to who made it.
}
