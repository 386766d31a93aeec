import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** How a program is run. */
export interface RunOptions {
  /** Written to its standard input. */
  readonly input?: string | Buffer | Iterable<Buffer>;
  readonly env?: Readonly<Record<string, string>>;
  /** Killed after this time. @defaultValue 30 s */
  readonly timeoutMs?: number;
}

/** What a program left behind. */
export interface ProgramResult {
  /** `null` when a signal ended it. */
  readonly code: number | null;
  /** The first MiB of its output. */
  readonly stdout: string;
  readonly stderr: string;
  /** Of all of its output. */
  readonly stdoutBytes: number;
  readonly stdoutSha256: string;
}

const KEPT_BYTES = 1024 * 1024;

/** Runs a program to its end; what it gives back may be of any size. */
export async function runProgram(
  argv: readonly string[],
  { input, env = {}, timeoutMs = 30_000 }: RunOptions = {},
): Promise<ProgramResult> {
  const [command = "", ...args] = argv;
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: "pipe",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const hash = createHash("sha256");
  const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let stdoutBytes = 0;
  child.stdout.on("data", (data: Buffer) => {
    hash.update(data);
    if (stdoutBytes < KEPT_BYTES) kept.stdout.push(data);
    stdoutBytes += data.length;
  });
  child.stderr.on("data", (data: Buffer) => kept.stderr.push(data));
  void feed(child.stdin, input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  return {
    code,
    stdout: Buffer.concat(kept.stdout).toString(),
    stderr: Buffer.concat(kept.stderr).toString(),
    stdoutBytes,
    stdoutSha256: hash.digest("hex"),
  };
}

/**
 * Runs a program that must succeed.
 *
 * @throws Error with what it wrote when its exit code is not 0.
 */
export async function mustRun(
  argv: readonly string[],
  options: RunOptions = {},
): Promise<ProgramResult> {
  const result = await runProgram(argv, options);
  if (result.code === 0) return result;
  throw new Error(`${argv.join(" ")} ended with ${result.code}: ${result.stderr}${result.stdout}`);
}

async function feed(stdin: Writable, input: RunOptions["input"] = ""): Promise<void> {
  const parts = typeof input === "string" || Buffer.isBuffer(input) ? [input] : input;
  try {
    await pipeline(Readable.from(parts), stdin);
  } catch {
    // It ended without reading all: its exit code says why.
  }
}
