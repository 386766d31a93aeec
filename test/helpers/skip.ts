/**
 * Skips the running test, or all of a suite when called in its `before` hook, and says why.
 *
 * The reason is printed at the end of the run (scripts/test/mocha-reporter.cjs).
 */
export function skipBecause(context: Mocha.Context, reason: string): never {
  const runnable = context.runnable();
  const isHook = "type" in runnable && runnable.type === "hook";
  Object.assign(isHook && runnable.parent !== undefined ? runnable.parent : runnable, {
    skipReason: reason,
  });
  return context.skip();
}
