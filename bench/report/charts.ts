// Which charts a result is shown in.
import type { BenchResult, Row } from "../lib/result.ts";
import { peerLabel } from "./labels.ts";
import type { BarChart, BarGroup } from "./svg.ts";

/** A chart and the file it goes to, below docs/benchmarks/. */
export interface NamedChart {
  readonly file: string;
  readonly chart: BarChart;
}

interface ChartSpec {
  readonly file: string;
  readonly title: string;
  readonly subtitle: string;
  readonly metric: string;
  readonly isLogarithmic?: boolean;
  /** Heading of the group that a row belongs to; undefined leaves the row out. */
  readonly heading: (row: Row) => string | undefined;
}

const SPECS: Readonly<Record<string, readonly ChartSpec[]>> = {
  sidecar: [
    {
      file: "sidecar-throughput.svg",
      title: "Requests per second, 43-byte body, 32 connections",
      subtitle: "more is better; line: smallest to largest round",
      metric: "perSecond",
      heading: inScenario("http 43 B c=32"),
    },
    {
      file: "sidecar-latency.svg",
      title: "Median latency of one connection, 43-byte body",
      subtitle: "microseconds, less is better; line: smallest to largest round",
      metric: "p50Us",
      heading: inScenario("latency 43 B c=1"),
    },
    {
      file: "sidecar-cpu.svg",
      title: "CPU time per request, all processes, 32 connections",
      subtitle: "microseconds, less is better; line: smallest to largest round",
      metric: "cpuUs",
      heading: inScenario("http 43 B c=32"),
    },
  ],
  fig3: (["native", "ts"] as const).map((language) => ({
    file: `fig3-${language}.svg`,
    title: `Figure 3: round trip between two processes, ${language === "ts" ? "TypeScript" : "C++"}`,
    subtitle: "median in microseconds, logarithmic, less is better; default waiting, machine idle",
    metric: "p50Us",
    isLogarithmic: true,
    heading: ({ scenario, regime }) =>
      regime === "idle" && scenario.startsWith(`${language} default `)
        ? scenario.slice(`${language} default `.length)
        : undefined,
  })),
  fig4: [
    {
      file: "fig4.svg",
      title: "Figure 4: round trip between two Node processes, through brokers and over channels",
      subtitle: "median in microseconds, logarithmic, less is better; machine otherwise idle",
      metric: "p50Us",
      isLogarithmic: true,
      heading: ({ scenario, regime }) => (regime === "idle" ? scenario : undefined),
    },
  ],
  fig56: (
    [
      ["cpuUs", "CPU time per message, all processes", "microseconds"],
      ["sessionKib", "Most memory per session, both processes and the kernel", "KiB"],
    ] as const
  ).map(([metric, title, unit]) => ({
    file: `fig56-${metric === "cpuUs" ? "cpu" : "memory"}.svg`,
    title: `Figures 5 and 6: ${title}`,
    subtitle: `${unit}, less is better; parallel sessions of 10,000 x 10,000 B, C++`,
    metric,
    heading: ({ scenario }) =>
      scenario.startsWith("native ") ? scenario.slice("native ".length) : undefined,
  })),
  fig78: (
    [
      ["cpuUs", "CPU time per frame, without codecs", "microseconds"],
      ["memoryKib", "Most memory of producer and consumer, without codecs", "KiB"],
    ] as const
  ).map(([metric, title, unit]) => ({
    file: `fig78-${metric === "cpuUs" ? "cpu" : "memory"}.svg`,
    title: `Figures 7 and 8: ${title}`,
    subtitle: `${unit}, less is better; C++`,
    metric,
    heading: ({ scenario }) => scenario,
  })),
  ring: (["native", "ts"] as const).map((language) => ({
    file: `ring-${language}.svg`,
    title: `Round trip between two processes, ${language === "ts" ? "TypeScript" : "C++"}`,
    subtitle: "median in microseconds, logarithmic, less is better; machine otherwise idle",
    metric: "p50Us",
    isLogarithmic: true,
    heading: ({ scenario, regime }) =>
      regime === "idle" && scenario.startsWith(`${language} `)
        ? scenario.slice(language.length + 1)
        : undefined,
  })),
};

/** The charts of one result; none for rows that were not measured. */
export function listCharts({ bench, rows }: BenchResult): readonly NamedChart[] {
  return (SPECS[bench] ?? []).flatMap(({ file, metric, heading, ...look }) => {
    const groups = groupRows(rows, metric, heading);
    return groups.length === 0 ? [] : [{ file, chart: { ...look, groups } }];
  });
}

function groupRows(
  rows: readonly Row[],
  metric: string,
  heading: ChartSpec["heading"],
): readonly BarGroup[] {
  const groups = Map.groupBy(rows, heading);
  return [...groups].flatMap(([title, members]) => {
    if (title === undefined) return [];
    const bars = members.flatMap(({ peer, metrics }) => {
      const spread = metrics[metric];
      return spread === undefined ? [] : [{ label: peerLabel(peer), spread, isOurs: isOurs(peer) }];
    });
    return bars.length === 0 ? [] : [{ heading: title, bars }];
  });
}

/** True for Shimmy itself among the peers of any bench. */
export function isOurs(peer: string): boolean {
  return peer.startsWith("shimmy") || peer.startsWith("lock") || peer === "ring";
}

function inScenario(name: string): ChartSpec["heading"] {
  return ({ scenario, regime }) => (scenario === name ? `${regime} machine` : undefined);
}
