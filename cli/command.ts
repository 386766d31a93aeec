import type { Command } from "commander";

/** What the file of one command exports. */
export interface CommandModule {
  /** Adds options, help and the action; the action reports its exit code with {@link Finish}. */
  define(command: Command, finish: Finish): void;
}

/** Sets the exit code of the command line. */
export type Finish = (exitCode: number) => void;

/** Exit codes of every command; `shimmy run` gives the code of the programs it ran instead of 0. */
export const ExitCode = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;
