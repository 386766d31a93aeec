import { pino, stdTimeFunctions, type Logger } from "pino";

export type { Logger } from "pino";

/** Levels a process can be told to log at, quietest last. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;

/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Where finished log lines go; each call is one whole line, line feed included. */
export interface LogSink {
  write(line: string): void;
}

/** Options for {@link createLogger}. */
export interface LoggerOptions {
  /** Name of the process: `agent`, `sidecar`, …; field `process` of every line. */
  readonly process: string;
  /** @defaultValue "info" */
  readonly level?: LogLevel;
  /** @defaultValue file descriptor 1, written synchronously so that no line is lost at exit */
  readonly sink?: LogSink;
}

/**
 * Makes the logger of one process: JSON, one line per event.
 *
 * What varies goes into fields and the message stays the same for every occurrence, so that an
 * event can be counted and searched: `log.info({ session, peer }, "session opened")`.
 */
export function createLogger({ process: name, level = "info", sink }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base: { process: name, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink ?? pino.destination({ fd: 1, sync: true }),
  );
}
