import { ShimmyError } from "../../common/errors.ts";
import { KeepAlive, nativeWithEvents } from "./native-events.ts";
import { checked } from "./status.ts";

/**
 * How an end waits.
 *
 * - `adaptive`: looks for work for up to 200 µs when that paid before, then sleeps. Asynchronous
 *   calls do so only while no other stream of this thread waits, as they hold up its event loop.
 * - `sleep`: sleeps at once; least CPU.
 * - `spin`: synchronous calls never sleep; least latency, one CPU each. Asynchronous calls wait as
 *   in `adaptive`, because the event loop must go on.
 *
 * On a machine with one CPU nothing spins.
 */
export type WaitMode = "adaptive" | "sleep" | "spin";

const WAIT_MODES: readonly WaitMode[] = ["adaptive", "sleep", "spin"];

/** Options of every stream. */
export interface StreamOptions {
  /** @defaultValue "adaptive" */
  readonly mode?: WaitMode;
}

/** What is waited for. Same numbers as `kWaitReadable`, `kWaitWritable` in src/stream_waiter.h. */
export const StreamDirection = { read: 1, write: 2 } as const;

/** One of {@link StreamDirection}. */
export type StreamDirection = (typeof StreamDirection)[keyof typeof StreamDirection];

/**
 * Applies defaults.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for an unknown option or waiting mode.
 */
export function resolveStreamOptions(options: StreamOptions): Required<StreamOptions> {
  const { mode = "adaptive", ...unknown } = options;
  const [name] = Object.keys(unknown);
  if (name !== undefined) {
    throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", `unknown stream option "${name}"`);
  }
  if (!WAIT_MODES.includes(mode)) {
    throw new ShimmyError(
      "SHIMMY_ERR_INVALID_OPTION",
      `mode must be one of ${WAIT_MODES.join(", ")}, got "${mode}"`,
    );
  }
  return { mode };
}

/** Whether a stream other than this one is waited for on this thread. */
export function doOthersWait(waits: StreamWaits): boolean {
  return waiting.size > (waiting.has(waits) ? 1 : 0);
}

/** Whether any stream is waited for on this thread. */
export function areStreamsWaitedFor(): boolean {
  return waiting.size > 0;
}

/** Streams that are waited for: reachable from here, so that they are not collected as garbage. */
const waiting = new Set<StreamWaits>();

/**
 * The asynchronous waits of one stream: at most one for each direction, later calls queue behind.
 *
 * Invariant: the event loop, and the stream, are kept alive exactly while a wait is pending.
 */
export class StreamWaits {
  readonly #id: number;
  readonly #keepAlive = new KeepAlive();
  readonly #pending = new Map<StreamDirection, PromiseWithResolvers<void>>();
  readonly #last = new Map<StreamDirection, Promise<unknown>>();

  /** @param id - The native stream, open until {@link StreamWaits.cancel}. */
  constructor(id: number) {
    this.#id = id;
  }

  /** Runs `task` after all earlier ones of this direction have settled. */
  inOrder<T>(direction: StreamDirection, task: () => Promise<T>): Promise<T> {
    const before = this.#last.get(direction);
    // Without a predecessor the task starts at once: a read that finds bytes waits for nothing.
    const result = before === undefined ? task() : before.then(task, task);
    const settled = result.then(
      () => undefined,
      () => undefined,
    );
    this.#last.set(direction, settled);
    void settled.then(() => {
      if (this.#last.get(direction) === settled) this.#last.delete(direction);
    });
    return result;
  }

  /** Resolves when the doorbell says that a direction may go on; it may be a false alarm. */
  until(direction: StreamDirection): Promise<void> {
    const wait = Promise.withResolvers<undefined>() as PromiseWithResolvers<void>;
    checked(nativeWithEvents().streamAsk(this.#id, direction), "wait");
    this.#pending.set(direction, wait);
    this.#keepAlive.hold();
    waiting.add(this);
    return wait.promise;
  }

  /** The doorbell became readable, writable or both. */
  ready(bits: number): void {
    for (const [direction, wait] of this.#pending) {
      if ((bits & direction) === 0) continue;
      this.#pending.delete(direction);
      wait.resolve();
    }
    if (this.#pending.size === 0) this.#letGo();
  }

  /** Rejects what is pending: the stream is closed. */
  cancel(): void {
    for (const wait of this.#pending.values()) {
      wait.reject(new ShimmyError("SHIMMY_ERR_CLOSED", "the stream was closed"));
    }
    this.#pending.clear();
    this.#letGo();
  }

  #letGo(): void {
    this.#keepAlive.release();
    waiting.delete(this);
  }
}
