/** Steps that undo what was done, run in the opposite order. */
export class Cleanup {
  readonly #steps: (() => void | Promise<void>)[] = [];

  /** Adds a step. */
  defer(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /**
   * Runs every step once, whatever the others do. Safe to call twice.
   *
   * @throws What the first step that failed threw.
   */
  async run(): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (err) {
        failures.push(err);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
