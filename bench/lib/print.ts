// Results as a person reads them in a terminal.
import { type BenchResult, describeBound, judge, type Row } from "./result.ts";
import type { Spread } from "./stats.ts";

/** The whole result: machine, rows, targets, notes. */
export function formatResult(result: BenchResult): string {
  return [
    describe(result),
    ...formatRows(result.rows),
    "",
    formatTargets(result),
    ...result.notes.map((note) => `note: ${note}`),
  ].join("\n");
}

/** `value (min to max)`. */
export function formatSpread({ value, min, max }: Spread): string {
  return `${value} (${min} to ${max})`;
}

/** Cells in columns as wide as their widest one. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function describe({ bench, commit, machine, rounds, quick, startedAt }: BenchResult): string {
  const { cpu, cores, memoryGib, kernel, node, isVirtual } = machine;
  const where = `${cpu}, ${cores} ${isVirtual ? "virtual " : ""}cores, ${memoryGib} GiB, kernel ${kernel}, Node ${node}`;
  const how = `${rounds} rounds, median (min to max)${quick ? ", QUICK: not for publication" : ""}`;
  return `bench ${bench} at ${commit}, ${startedAt}\n${where}\n${how}`;
}

function formatRows(rows: readonly Row[]): readonly string[] {
  const scenarios = Map.groupBy(rows, ({ scenario, regime }) => `${scenario}, ${regime}`);
  return [...scenarios].map(([title, group]) => {
    const metrics = [...new Set(group.flatMap((row) => Object.keys(row.metrics)))];
    const table = group.map(({ peer, metrics: values }) => [
      peer,
      ...metrics.map((metric) => {
        const value = values[metric];
        return value === undefined ? "" : formatSpread(value);
      }),
    ]);
    return `\n${title}\n${formatTable([["peer", ...metrics], ...table])}`;
  });
}

function formatTargets(result: BenchResult): string {
  const rows = result.targets.map((target) => {
    const measured = result.ratios[target.key] ?? result.figures[target.key];
    const value = measured === undefined ? "" : formatSpread(measured);
    return [target.key, value, describeBound(target), judge(target, result)];
  });
  return formatTable([["key", "measured", "target", "verdict"], ...rows]);
}
