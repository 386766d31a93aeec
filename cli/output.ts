import type { OutputStream } from "./local/managed-process.ts";

const COLOURS = [36, 33, 35, 32, 34, 91, 96, 93];

/** Where text goes: standard output, or a fake of it. */
export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** Standard output and standard error, or fakes of them. */
export interface OutputSinks {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
}

/** Writes lines of several programs, each with the name of its program before it. */
export class PrefixedOutput {
  readonly #sinks: OutputSinks;
  readonly #width: number;
  readonly #colours = new Map<string, number>();

  /** @param names - Of all programs, so that their lines stand below each other. */
  constructor(names: readonly string[], sinks: OutputSinks = process) {
    this.#sinks = sinks;
    this.#width = Math.max(...names.map((name) => name.length));
  }

  /** Writes one line of a program to the stream of the same kind. */
  line(name: string, text: string, stream: OutputStream): void {
    const sink = this.#sinks[stream];
    sink.write(`${this.#prefix(name, sink)}${text}\n`);
  }

  #prefix(name: string, sink: TextSink): string {
    const text = `${name.padEnd(this.#width)} |`;
    if (!usesColours(sink)) return `${text} `;
    const known = this.#colours.get(name);
    const colour = known ?? COLOURS[this.#colours.size % COLOURS.length] ?? 36;
    this.#colours.set(name, colour);
    return `\u001B[${colour}m${text}\u001B[0m `;
  }
}

/** Whether a terminal wants colours. https://no-color.org */
export function usesColours(sink: TextSink): boolean {
  return sink.isTTY === true && (process.env["NO_COLOR"] ?? "") === "";
}
