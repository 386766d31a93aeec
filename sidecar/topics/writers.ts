import type { Clock } from "../../common/clock.ts";
import { ShimmyError } from "../../common/errors.ts";
import type { ChannelKind, OpenOptions, TopicTransport, TopicWriter } from "./transport.ts";

/** Roles to write that are kept at once; beyond it the one that is idle for longest goes. */
const MAX_WRITERS = 64;
/** A producer in waiting takes over then. */
const PRODUCER_IDLE_MS = 5000;
const SWEEP_MS = 1000;

interface Kept {
  readonly opening: Promise<TopicWriter>;
  writer?: TopicWriter;
  users: number;
  usedAt: number;
}

/**
 * Roles to write, kept between requests.
 *
 * Each publisher of a lock-free channel has a ring of its own, so one is kept for as long as the
 * sidecar runs. A producer is one of a kind: it is given up when nobody has used it for a moment and
 * all it wrote was read, so that the next in line comes to write. Given up before, it would leave a
 * ring behind each time, of which the agent allows a pod so many.
 */
export class TopicWriters {
  readonly #transport: TopicTransport;
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept>();
  readonly #stopSweeping: () => void;
  #isClosed = false;

  constructor(transport: TopicTransport, clock: Clock) {
    this.#transport = transport;
    this.#clock = clock;
    this.#stopSweeping = clock.every(SWEEP_MS, () => {
      this.#sweep();
    });
  }

  /** Topics that are written. */
  get size(): number {
    return this.#kept.size;
  }

  /**
   * Lends the role to write a topic to `action`.
   *
   * @throws {@link ShimmyError} With the agent's code when it refuses, and whatever `action` throws.
   */
  async use<T>(options: OpenOptions, action: (writer: TopicWriter) => Promise<T>): Promise<T> {
    const kept = this.#find(options);
    kept.users += 1;
    try {
      return await action(await kept.opening);
    } finally {
      kept.users -= 1;
      kept.usedAt = this.#clock.now();
      if (kept.writer?.isOver === true) this.#drop(options.topic, kept);
    }
  }

  /** Gives all roles up. */
  close(): void {
    this.#isClosed = true;
    this.#stopSweeping();
    for (const [topic, kept] of this.#kept) this.#drop(topic, kept);
  }

  #find(options: OpenOptions): Kept {
    if (this.#isClosed) throw new ShimmyError("SHIMMY_ERR_CLOSED", "the sidecar is stopping");
    const { topic } = options;
    const found = this.#kept.get(topic);
    if (found !== undefined && found.writer?.isOver !== true) return found;
    if (found !== undefined) this.#drop(topic, found);
    this.#makeRoom();
    const kept: Kept = {
      opening: this.#transport.openWriter(options),
      users: 0,
      usedAt: this.#clock.now(),
    };
    this.#kept.set(topic, kept);
    kept.opening.then(
      (writer) => {
        kept.writer = writer;
        if (this.#kept.get(topic) !== kept) writer.close();
      },
      () => {
        if (this.#kept.get(topic) === kept) this.#kept.delete(topic);
      },
    );
    return kept;
  }

  #makeRoom(): void {
    if (this.#kept.size < MAX_WRITERS) return;
    const idle = [...this.#kept].filter(([, { users }]) => users === 0);
    const [oldest] = idle.toSorted(([, a], [, b]) => a.usedAt - b.usedAt);
    if (oldest === undefined) {
      throw new ShimmyError("SHIMMY_ERR_LIMIT", `${MAX_WRITERS} topics are being written`);
    }
    this.#drop(...oldest);
  }

  #sweep(): void {
    for (const [topic, kept] of this.#kept) {
      if (this.#isIdle(kept)) void this.#giveUp(topic, kept);
    }
  }

  async #giveUp(topic: string, kept: Kept): Promise<void> {
    const isDrained = await kept.writer?.isDrained();
    if (isDrained === true && this.#isIdle(kept)) this.#drop(topic, kept);
  }

  #isIdle({ users, usedAt, writer }: Kept): boolean {
    const isOld = usedAt <= this.#clock.now() - PRODUCER_IDLE_MS;
    return users === 0 && isOld && writer?.kind === ("lock" satisfies ChannelKind);
  }

  #drop(topic: string, kept: Kept): void {
    if (this.#kept.get(topic) === kept) this.#kept.delete(topic);
    kept.writer?.close();
  }
}
