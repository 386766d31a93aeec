// The table of measured results in README.md, made from results and nothing else.
import {
  type BenchResult,
  describeBound,
  judge,
  type Target,
  type Verdict,
} from "../lib/result.ts";

const BEGIN = "<!-- bench:begin -->";
const END = "<!-- bench:end -->";

const VERDICTS: Readonly<Record<Verdict, string>> = {
  pass: "met",
  FAIL: "**missed**",
  reported: "",
  "not measured": "not measured",
};

/** What a reader came for is first; what nobody named here has, in the order of names, is last. */
const FIRST = ["sidecar", "ring"];

/**
 * What stands between the markers: of each bench every key with a bound, met or not, and every
 * comparison with plain TCP.
 *
 * @throws Error when a result comes from a quick run.
 */
export function renderReadmeBlock(results: readonly BenchResult[]): string {
  if (results.length === 0) {
    return "No full run has been committed yet, so there are no numbers here. `npm run bench -- sidecar` measures on your machine.\n";
  }
  const tables = results.toSorted(inOrder).map(renderBench);
  return `${tables.join("\n")}\nAll figures, and where Shimmy loses: [docs/benchmarks.md](docs/benchmarks.md).\n`;
}

/**
 * Puts a block between the markers of README.md.
 *
 * @throws Error when the markers are not there, once each and in order.
 */
export function fillReadme(readme: string, block: string): string {
  const [before, rest, ...moreBegins] = readme.split(BEGIN);
  const [, after, ...moreEnds] = rest?.split(END) ?? [];
  if (before === undefined || after === undefined || moreBegins.length + moreEnds.length > 0) {
    throw new Error(`README.md must have ${BEGIN} and ${END}, once each`);
  }
  return `${before}${BEGIN}\n${block}${END}${after}`;
}

function inOrder(a: BenchResult, b: BenchResult): number {
  const place = ({ bench }: BenchResult): number =>
    FIRST.includes(bench) ? FIRST.indexOf(bench) : FIRST.length;
  return place(a) - place(b) || a.bench.localeCompare(b.bench);
}

function renderBench(result: BenchResult): string {
  if (result.quick) throw new Error(`${result.bench}: results of --quick are not published`);
  const { cpu, cores, isVirtual, kernel } = result.machine;
  const rows = result.targets.filter(isShown).map((target) => renderTarget(target, result));
  return [
    `Bench \`${result.bench}\`, commit \`${result.commit}\`: ${cpu}, ${cores} ${isVirtual ? "virtual " : ""}cores, Linux ${kernel}. Medians of ${result.rounds} rounds.\n`,
    "| What | Measured | Target | |",
    "|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

function isShown({ key, bound }: Target): boolean {
  return bound !== "reported" || key.includes("_vs_direct_");
}

function renderTarget(target: Target, result: BenchResult): string {
  const ratio = result.ratios[target.key];
  const measured = ratio ?? result.figures[target.key];
  const value = measured === undefined ? "" : `${measured.value}${ratio === undefined ? "" : "×"}`;
  const cells = [target.title, value, describeBound(target), VERDICTS[judge(target, result)]];
  return `| ${cells.join(" | ")} |`;
}
