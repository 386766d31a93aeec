import { spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { crc32 } from "node:zlib";

/** Languages that have an SDK and a driver. */
export const LANGUAGES = ["c", "python", "typescript"] as const;

/** One of {@link LANGUAGES}. */
export type Language = (typeof LANGUAGES)[number];

/** A message as drivers tell of it. */
export interface ReadMessage {
  readonly bytes: number;
  readonly crc32: number;
  readonly sequence: string;
  readonly generation: string;
  readonly missed: number | "unknown";
}

/** An answer: test/conformance/README.md says which fields it has. */
export interface Answer {
  readonly id: number;
  readonly result: "ok" | "timeout" | "ended" | "error";
  readonly code?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly messages?: readonly ReadMessage[];
  readonly count?: number;
  readonly [field: string]: unknown;
}

/** Fields of a command. */
export type Fields = Readonly<Record<string, string | number | boolean | readonly number[]>>;

const ROOT = join(import.meta.dirname, "../..");
const DRIVERS = join(import.meta.dirname, "drivers");
// Debian's, which has Debian's numpy.
const DEBIAN_PYTHON = "/usr/bin/python3";

/** The interpreter that tests of the Python SDK use. */
export const PYTHON = existsSync(DEBIAN_PYTHON) ? DEBIAN_PYTHON : "python3";

/** Where the Python package lies, as it was built. */
export const PYTHON_PATH = join(ROOT, "build/release/python");

const PROGRAMS: Readonly<Record<Language, readonly [string, ...string[]]>> = {
  c: [join(ROOT, "build/release/conformance_driver")],
  python: [PYTHON, join(DRIVERS, "python.py")],
  typescript: [process.execPath, join(DRIVERS, "typescript.ts")],
};

/** A driver of an SDK in a process of its own. */
export class Driver {
  readonly language: Language;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #lastId = 0;
  #problem: Error | undefined;
  #fail: (problem: Error) => void = () => undefined;

  constructor(language: Language) {
    this.language = language;
    const [program, ...args] = PROGRAMS[language];
    this.#child = spawn(program, args, {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, PYTHONPATH: PYTHON_PATH, PYTHONFAULTHANDLER: "1" },
    });
    this.#child.on("error", (err) => {
      this.#over(err);
    });
    this.#child.on("close", (code, signal) => {
      this.#over(new Error(`the ${language} driver ended: ${String(code ?? signal)}`));
    });
    this.#child.stdin.on("error", () => undefined);
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      const answer = JSON.parse(line) as Answer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  /** Sends a command and waits for the answer, whichever it is. */
  ask(op: string, fields: Fields): Promise<Answer> {
    if (this.#problem !== undefined) return Promise.reject(this.#problem);
    const id = ++this.#lastId;
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#waiting.set(id, resolve);
      const before = this.#fail;
      this.#fail = (problem) => {
        before(problem);
        reject(problem);
      };
    });
    this.#child.stdin.write(`${JSON.stringify({ id, op, ...fields })}\n`);
    return answer;
  }

  /** Sends a command that must work. */
  async must(op: string, fields: Fields): Promise<Answer> {
    const answer = await this.ask(op, fields);
    if (answer.result === "ok") return answer;
    throw new Error(`${this.language}: ${op} ${JSON.stringify(fields)}: ${JSON.stringify(answer)}`);
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    if (this.#problem !== undefined) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "close");
  }

  /** Ends its input; returns the exit code. */
  async close(): Promise<number | null> {
    if (this.#problem === undefined) {
      this.#child.stdin.end();
      await once(this.#child, "close");
    }
    return this.#child.exitCode;
  }

  #over(problem: Error): void {
    this.#problem ??= problem;
    this.#fail(this.#problem);
  }
}

/** The content of a seed (test/conformance/README.md). */
function content(seed: number, bytes: number): Buffer {
  const period = Buffer.from(Uint8Array.from({ length: 251 }, (_, i) => (i * 31 + seed) & 255));
  const data = Buffer.alloc(bytes, period);
  for (let i = 0; i < Math.min(bytes, 8); i++) data[i] = Math.floor(seed / 2 ** (8 * i)) & 255;
  return data;
}

/** Size and checksum of messages that were published from `seed` on. */
export function expected(
  seed: number,
  count: number,
  sizes: readonly number[],
): { bytes: number; crc32: number }[] {
  return Array.from({ length: count }, (_, i) => {
    const bytes = sizes[i % sizes.length] ?? 0;
    return { bytes, crc32: crc32(content(seed + i, bytes)) };
  });
}

/** What {@link expected} tells of messages that were read. */
export function contents(answer: Answer): { bytes: number; crc32: number }[] {
  return (answer.messages ?? []).map(({ bytes, crc32: sum }) => ({ bytes, crc32: sum }));
}
