/** Time, as the parts of a process see it; tests pass one that they move by hand. */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number;
  /** Runs `action` once; the timer does not keep the process alive. @returns Cancels it. */
  after(delayMs: number, action: () => void): () => void;
  /** Runs `action` again and again; does not keep the process alive. @returns Stops it. */
  every(periodMs: number, action: () => void): () => void;
}

/** The process's own time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after: (delayMs, action) => {
    const timer = setTimeout(action, delayMs).unref();
    return () => {
      clearTimeout(timer);
    };
  },
  every: (periodMs, action) => {
    const timer = setInterval(action, periodMs).unref();
    return () => {
      clearInterval(timer);
    };
  },
};
