/** What a runner reported: how many tests passed, failed and were skipped, and why. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  /** One line for each skipped test: its name and the reason. */
  readonly skipped: readonly string[];
}

/** Nothing ran. */
export const NO_COUNTS: Counts = { passed: 0, failed: 0, skipped: [] };

/** Adds up what several runners reported. */
export function sumCounts(all: readonly Counts[]): Counts {
  return {
    passed: all.reduce((sum, { passed }) => sum + passed, 0),
    failed: all.reduce((sum, { failed }) => sum + failed, 0),
    skipped: all.flatMap(({ skipped }) => skipped),
  };
}

/** The closing line of a run, which CI reads. */
export function closingLine({ passed, failed, skipped }: Counts): string {
  const tail = skipped.length === 0 ? "" : `, ${skipped.length} skipped`;
  return `${passed} passed, ${failed} failed${tail}`;
}

/** Reads the file that mocha-reporter.cjs wrote. */
export function parseMochaSummary(text: string): Counts {
  return JSON.parse(text) as Counts;
}

/**
 * Reads a GoogleTest XML report.
 *
 * Disabled tests count as skipped: the name says why they are not run.
 */
export function parseGtestXml(xml: string): Counts {
  const counts = { passed: 0, failed: 0, skipped: [] as string[] };
  for (const [, attributes = "", body = ""] of xml.matchAll(
    /<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g,
  )) {
    const attribute = (key: string): string =>
      new RegExp(`(?:^| )${key}="([^"]*)"`).exec(attributes)?.[1] ?? "";
    const name = `${attribute("classname")}.${attribute("name")}`;
    const skip = /<skipped message="([^"]*)"/.exec(body);
    if (body.includes("<failure")) counts.failed += 1;
    else if (attribute("status") === "notrun") counts.skipped.push(`${name}: disabled`);
    else if (skip !== null || attribute("result") === "skipped")
      counts.skipped.push(`${name}: ${skipReason(skip?.[1])}`);
    else counts.passed += 1;
  }
  return counts;
}

// GoogleTest writes "file:line&#x0A;reason".
function skipReason(message = ""): string {
  const reason = message.split("&#x0A;").slice(1).join(" ").trim();
  return reason === "" ? "no reason given" : reason;
}

/** Counts the lines that begin with `ok `, `FAIL ` and `skip `, which check scripts print. */
export function parseLines(output: string): Counts {
  const starting = (word: string): string[] =>
    output.split("\n").filter((line) => line.startsWith(`${word} `));
  return {
    passed: starting("ok").length,
    failed: starting("FAIL").length,
    skipped: starting("skip").map((line) => line.slice("skip ".length)),
  };
}
