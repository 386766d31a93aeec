/** Bytes that may be held at once; who finds none waits its turn. */
export class ByteBudget {
  readonly totalBytes: number;
  readonly #queue: { readonly bytes: number; readonly go: () => void }[] = [];
  #usedBytes = 0;

  constructor(totalBytes: number) {
    this.totalBytes = totalBytes;
  }

  /** Bytes that are held now. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * Waits until `bytes`, at most the total, are free, and takes them.
   *
   * @returns Gives them back; may be called again.
   * @throws The signal's reason when it is aborted before.
   */
  async take(bytes: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#queue.length > 0 || this.#usedBytes + bytes > this.totalBytes) {
      await this.#wait(bytes, signal);
    } else {
      this.#usedBytes += bytes;
    }
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#usedBytes -= bytes;
      this.#serve();
    };
  }

  #wait(bytes: number, signal: AbortSignal): Promise<void> {
    const turn = Promise.withResolvers<undefined>();
    const entry = {
      bytes,
      go: () => {
        signal.removeEventListener("abort", abort);
        turn.resolve(undefined);
      },
    };
    const abort = (): void => {
      this.#queue.splice(this.#queue.indexOf(entry), 1);
      turn.reject(signal.reason as Error);
      this.#serve();
    };
    signal.addEventListener("abort", abort, { once: true });
    this.#queue.push(entry);
    return turn.promise;
  }

  #serve(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if (this.#usedBytes + first.bytes > this.totalBytes) return;
      this.#queue.shift();
      this.#usedBytes += first.bytes;
      first.go();
    }
  }
}
