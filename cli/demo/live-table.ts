import type { TextSink } from "../output.ts";

/** Lines that are drawn over themselves in a terminal; elsewhere only the last ones are printed. */
export class LiveTable {
  readonly #sink: TextSink;
  #shown = 0;

  constructor(sink: TextSink) {
    this.#sink = sink;
  }

  /** Shows lines in place of those before; does nothing where nothing can be drawn over. */
  update(lines: readonly string[]): void {
    if (this.#sink.isTTY === true) this.#draw(lines);
  }

  /** Shows the last lines; they stay. */
  finish(lines: readonly string[]): void {
    this.#draw(lines);
    this.#shown = 0;
  }

  #draw(lines: readonly string[]): void {
    const back = this.#shown === 0 ? "" : `\u001B[${this.#shown}A`;
    const clear = this.#sink.isTTY === true ? "\u001B[K" : "";
    this.#sink.write(back + lines.map((line) => `${line}${clear}\n`).join(""));
    this.#shown = Math.max(this.#shown, lines.length);
  }
}
