import type { CommanderError } from "commander";

import { ShimmyError, toShimmyError } from "../common/errors.ts";
import { ExitCode } from "./command.ts";

/** Turns what commander refuses into one of our errors. */
export function commanderFailure({ message }: CommanderError): ShimmyError {
  const text = message.replace(/^error: /, "").replaceAll(/\s*\n\s*/g, " ");
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", text);
}

/** The line a person sees, and the exit code. */
export function describeFailure(err: unknown): { line: string; exitCode: number } {
  const { message, code } = toShimmyError(err);
  const text = message.replaceAll(/\s*\n\s*/g, " ");
  return {
    line: `shimmy: ${text} (${code})`,
    exitCode: code === "SHIMMY_ERR_INVALID_CONFIG" ? ExitCode.usage : ExitCode.failure,
  };
}

/**
 * Reports an error in one line on standard error; with SHIMMY_DEBUG=1 also where it came from.
 *
 * @returns The exit code.
 */
export function reportFailure(err: unknown): number {
  const { line, exitCode } = describeFailure(err);
  process.stderr.write(`${line}\n`);
  if (process.env["SHIMMY_DEBUG"] === "1" && err instanceof Error) {
    process.stderr.write(`${err.stack ?? ""}\n`);
    if (err.cause instanceof Error) process.stderr.write(`caused by ${err.cause.stack ?? ""}\n`);
  }
  return exitCode;
}
