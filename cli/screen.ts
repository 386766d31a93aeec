import type { ReadStream } from "node:tty";

const HIDE_CURSOR = "\u001B[?25l";
const SHOW_CURSOR = "\u001B[?25h";
const HOME = "\u001B[H";
const CLEAR_LINE_END = "\u001B[K";
const CLEAR_BELOW = "\u001B[J";
const ALTERNATE = "\u001B[?1049h";
const PRIMARY = "\u001B[?1049l";
const CTRL_C = "\u0003";

/** What a screen is shown on; the process's own terminal, or a fake. */
export interface ScreenStreams {
  readonly stdout: {
    write(text: string): unknown;
    readonly rows?: number;
    readonly columns?: number;
  };
  readonly stdin: Pick<ReadStream, "isTTY" | "setRawMode" | "on" | "off" | "resume" | "pause">;
}

/** The whole terminal, redrawn in place; as it was before once it is disposed of. */
export class Screen implements Disposable {
  /** Resolves when `q` is pressed. */
  readonly quit: Promise<"quit">;
  readonly #streams: ScreenStreams;
  readonly #onKey: (key: Buffer) => void;

  constructor(streams: ScreenStreams = process) {
    this.#streams = streams;
    const { promise, resolve } = Promise.withResolvers<"quit">();
    this.quit = promise;
    this.#onKey = (key) => {
      const text = key.toString();
      if (text === "q") resolve("quit");
      // In raw mode the terminal makes no signal of it.
      if (text === CTRL_C) process.kill(process.pid, "SIGINT");
    };
    streams.stdout.write(ALTERNATE + HIDE_CURSOR);
    if (streams.stdin.isTTY) streams.stdin.setRawMode(true);
    streams.stdin.on("data", this.#onKey);
    streams.stdin.resume();
  }

  /** Shows lines from the top; what does not fit is cut. */
  show(lines: readonly string[]): void {
    const { stdout } = this.#streams;
    // A terminal that does not know its size says 0.
    const [rows, columns] = [stdout.rows || 24, stdout.columns || 80];
    const fitting = lines.slice(0, rows - 1).map((line) => line.slice(0, columns));
    const text = fitting.map((line) => `${line}${CLEAR_LINE_END}\n`).join("");
    stdout.write(HOME + text + CLEAR_BELOW);
  }

  [Symbol.dispose](): void {
    const { stdin, stdout } = this.#streams;
    stdin.off("data", this.#onKey);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    stdout.write(SHOW_CURSOR + PRIMARY);
  }
}
