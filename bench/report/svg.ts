// Bar charts as SVG that read well on light and dark backgrounds: no background of their own, and
// text whose colour follows the reader's preference.
import type { Spread } from "../lib/stats.ts";

/** One bar. */
export interface Bar {
  readonly label: string;
  readonly spread: Spread;
  /** Drawn in the colour that marks Shimmy. */
  readonly isOurs: boolean;
}

/** A group of bars under a heading of its own; charts of one group leave the heading empty. */
export interface BarGroup {
  readonly heading: string;
  readonly bars: readonly Bar[];
}

/** A chart of horizontal bars. */
export interface BarChart {
  readonly title: string;
  /** What the numbers are, with their unit and which direction is better. */
  readonly subtitle: string;
  readonly groups: readonly BarGroup[];
  /** Logarithmic, for values that differ by orders of magnitude. @defaultValue linear */
  readonly isLogarithmic?: boolean;
}

const WIDTH = 760;
const LABEL_WIDTH = 170;
const VALUE_WIDTH = 80;
const BAR_WIDTH = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
const TOP = 58;
const ROW = 24;
const BAR_HEIGHT = 15;
const HEADING = 26;

const STYLE = `<style>
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .soft { fill: #57606a; }
  .value { font-variant-numeric: tabular-nums; }
  .ours { fill: #0a7d5a; }
  .other { fill: #8c96a3; }
  .range { stroke: #24292f; stroke-width: 1.2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .soft { fill: #9aa4af; }
    .ours { fill: #2fbf8f; }
    .other { fill: #6e7884; }
    .range { stroke: #e6edf3; }
  }
</style>`;

/** Draws a chart. The thin line on a bar spans the smallest and largest round. */
export function drawBarChart(chart: BarChart): string {
  const scale = makeScale(chart);
  const parts: string[] = [];
  let y = TOP;
  for (const { heading, bars } of chart.groups) {
    if (heading !== "") {
      parts.push(text({ x: 0, y: y + 14, kind: "soft", content: heading }));
      y += HEADING;
    }
    for (const bar of bars) {
      parts.push(drawBar(bar, y, scale));
      y += ROW;
    }
  }
  const height = y + 8;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(chart.title)}">`,
    STYLE,
    text({ x: 0, y: 18, kind: "title", content: chart.title }),
    text({ x: 0, y: 38, kind: "soft", content: chart.subtitle }),
    ...parts,
    "</svg>\n",
  ].join("\n");
}

type Scale = (value: number) => number;

function makeScale({ groups, isLogarithmic = false }: BarChart): Scale {
  const spreads = groups.flatMap(({ bars }) => bars.map(({ spread }) => spread));
  const largest = Math.max(...spreads.map(({ max }) => max));
  if (!isLogarithmic) return (value) => (value / largest) * BAR_WIDTH;
  // The shortest bar keeps a tenth of the width, so that it is seen to be one.
  const smallest = Math.min(...spreads.map(({ min }) => min));
  const span = Math.log(largest / smallest) || 1;
  return (value) => (0.1 + 0.9 * (Math.log(value / smallest) / span)) * BAR_WIDTH;
}

function drawBar({ label, spread, isOurs }: Bar, y: number, scale: Scale): string {
  const [value, min, max] = [spread.value, spread.min, spread.max].map((x) => scale(x).toFixed(1));
  const middle = y + BAR_HEIGHT / 2;
  const baseline = y + 12;
  const from = LABEL_WIDTH + Number(min);
  const to = LABEL_WIDTH + Number(max);
  return [
    text({ x: LABEL_WIDTH - 10, y: baseline, kind: "label", content: label, anchor: "end" }),
    `<rect class="${isOurs ? "ours" : "other"}" x="${LABEL_WIDTH}" y="${y}" width="${value ?? 0}" height="${BAR_HEIGHT}" rx="2"/>`,
    `<line class="range" x1="${from.toFixed(1)}" y1="${middle}" x2="${to.toFixed(1)}" y2="${middle}"/>`,
    text({ x: to + 8, y: baseline, kind: "value", content: formatShort(spread.value) }),
  ].join("\n");
}

interface Text {
  readonly x: number;
  readonly y: number;
  readonly kind: string;
  readonly content: string;
  readonly anchor?: "end";
}

function text({ x, y, kind, content, anchor }: Text): string {
  const end = anchor === undefined ? "" : ` text-anchor="${anchor}"`;
  return `<text class="${kind}" x="${Number(x.toFixed(1))}" y="${y}"${end}>${escape(content)}</text>`;
}

/** Three significant digits, thousands as k. */
export function formatShort(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}

function escape(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
