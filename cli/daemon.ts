import { constants } from "node:os";

import { ExitCode } from "./command.ts";

const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A signal that asks this process to end. */
export type StopSignal = (typeof STOP_SIGNALS)[number];

/** Listens for the signals that ask for the end; a second one ends the process at once. */
export class StopRequest implements Disposable {
  /** The first signal. */
  readonly received: Promise<StopSignal>;
  /** Whether a signal came. */
  isReceived = false;
  readonly #onSignal: (signal: StopSignal) => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<StopSignal>();
    this.received = promise;
    this.#onSignal = (signal) => {
      if (this.isReceived) process.exit(signalExitCode(signal));
      this.isReceived = true;
      resolve(signal);
    };
    for (const signal of STOP_SIGNALS) process.on(signal, this.#onSignal);
  }

  [Symbol.dispose](): void {
    for (const signal of STOP_SIGNALS) process.off(signal, this.#onSignal);
  }
}

/** The exit code of a program that a signal ended, as shells have it. */
export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** The exit code of a daemon that was asked to end: ctrl-C is told apart from an orderly stop. */
export function daemonExitCode(signal: StopSignal): number {
  return signal === "SIGINT" ? ExitCode.interrupted : ExitCode.ok;
}
