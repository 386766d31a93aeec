// docs/benchmarks.md and its charts, made from results and nothing else.
import { type BenchResult, describeBound, judge, type Row } from "../lib/result.ts";
import type { Spread } from "../lib/stats.ts";
import { listCharts } from "./charts.ts";
import { metricLabel, peerLabel } from "./labels.ts";
import { listLosses, listMissedTargets } from "./losses.ts";
import { drawBarChart } from "./svg.ts";

/** Contents by path below docs/. */
export type Report = ReadonlyMap<string, string>;

/** Text of the page. */
export const PAGE = "benchmarks.md";

const INTRODUCTION = `# Benchmarks

<!-- Made by \`node bench/report.ts\` from bench/results/*.json; a unit test compares. Do not edit. -->

\`npm run bench -- NAME\` repeats any of this on your machine; \`--quick\` gives a first impression in under three minutes and is never published.
All peers of a bench run in one invocation, one after the other in every round, so that a slow moment of the machine falls on all of them.
A figure is the median of the rounds, with the smallest and the largest; a ratio is computed round by round.
Peers run their makers' recommended configuration (\`bench/peers\`), with as many worker threads as Shimmy.
"Idle" is the machine as it is; "busy" has a nice-19 spinner on each core, so that no CPU sleeps and waking one costs nothing.
No ratio is given for connections that Shimmy's own counters do not show as carried by shared memory.
`;

/**
 * Renders all results.
 *
 * @throws Error when one of them comes from a quick run.
 */
export function renderReport(results: readonly BenchResult[]): Report {
  const files = new Map<string, string>();
  const sections = results
    .toSorted((a, b) => a.bench.localeCompare(b.bench))
    .map((result) => renderResult(result, files));
  const body = sections.length === 0 ? ["\nNo full run has been committed yet.\n"] : sections;
  files.set(PAGE, [INTRODUCTION, ...body].join("\n"));
  return files;
}

function renderResult(result: BenchResult, files: Map<string, string>): string {
  if (result.quick) throw new Error(`${result.bench}: results of --quick are not published`);
  const charts = listCharts(result).map(({ file, chart }) => {
    files.set(`benchmarks/${file}`, drawBarChart(chart));
    return `![${chart.title}](benchmarks/${file})\n`;
  });
  return [
    `## ${result.bench}\n`,
    describeRun(result),
    "### Targets\n",
    renderTargets(result),
    ...renderLosses(result),
    ...(charts.length === 0 ? [] : ["### Charts\n", ...charts]),
    "### All figures\n",
    ...renderRows(result.rows),
  ].join("\n");
}

function describeRun({ machine, commit, rounds, startedAt, notes }: BenchResult): string {
  const { cpu, cores, isVirtual, memoryGib, architecture, kernel, node } = machine;
  return [
    `Commit \`${commit}\`, ${startedAt.slice(0, 10)}, ${rounds} rounds.`,
    `${cpu} (${architecture}), ${cores} ${isVirtual ? "virtual " : ""}cores, ${memoryGib} GiB, Linux ${kernel}, Node ${node}.`,
    ...notes.map((note) => `${note.charAt(0).toUpperCase()}${note.slice(1)}.`),
    "",
  ].join("\n");
}

function renderTargets(result: BenchResult): string {
  const rows = result.targets.map((target) => {
    const measured = result.ratios[target.key] ?? result.figures[target.key];
    const value = measured === undefined ? "" : renderSpread(measured);
    const verdict = judge(target, result).replace("FAIL", "**missed**").replace("pass", "met");
    return [`\`${target.key}\``, target.title, value, describeBound(target), verdict];
  });
  return table(["key", "what", "median (min to max)", "target", ""], rows);
}

function renderLosses(result: BenchResult): readonly string[] {
  const missed = listMissedTargets(result);
  const losses = listLosses(result);
  if (missed.length + losses.length === 0) return [];
  const list = (title: string, items: readonly string[]): readonly string[] =>
    items.length === 0 ? [] : [`${title}\n`, ...items.map((item) => `- ${item}`), ""];
  return [
    "### Where Shimmy loses\n",
    ...list("Targets missed:", missed),
    ...list("Medians that another peer beats:", losses),
  ];
}

function renderRows(rows: readonly Row[]): readonly string[] {
  const scenarios = Map.groupBy(rows, ({ scenario, regime }) => `${scenario}, ${regime} machine`);
  return [...scenarios].map(([title, members]) => {
    const metrics = [...new Set(members.flatMap((row) => Object.keys(row.metrics)))];
    const cells = members.map((row) => [
      peerLabel(row.peer),
      ...metrics.map((metric) => {
        const value = row.metrics[metric];
        return value === undefined ? "" : renderSpread(value);
      }),
    ]);
    return `#### ${title}\n\n${table(["", ...metrics.map(metricLabel)], cells)}`;
  });
}

function renderSpread({ value, min, max }: Spread): string {
  return `${value} (${min} to ${max})`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = head.map(() => "---");
  return `${[head, rule, ...rows].map(line).join("\n")}\n`;
}
