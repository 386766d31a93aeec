/** One sample of a page in the Prometheus text format. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>.*)\})?\s+(?<value>\S+)/;
const LABEL = /(?<key>\w+)="(?<text>(?:[^"\\]|\\.)*)"/g;

/**
 * Reads a page in the Prometheus text format; what is no sample is passed over.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function parsePrometheus(text: string): Sample[] {
  return text.split("\n").flatMap((line) => {
    const match = LINE.exec(line)?.groups;
    const value = Number(match?.["value"]);
    if (match?.["name"] === undefined || Number.isNaN(value)) return [];
    return [{ name: match["name"], labels: labelsOf(match["labels"] ?? ""), value }];
  });
}

/** Adds up the samples of a metric that have these labels. */
export function sumSamples(
  samples: readonly Sample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const wanted = Object.entries(labels);
  return samples
    .filter((sample) => sample.name === name)
    .filter((sample) => wanted.every(([key, text]) => sample.labels[key] === text))
    .reduce((sum, { value }) => sum + value, 0);
}

function labelsOf(text: string): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  for (const { groups } of text.matchAll(LABEL)) {
    if (groups?.["key"] === undefined) continue;
    labels[groups["key"]] = (groups["text"] ?? "").replaceAll(/\\(.)/g, (_, char: string) =>
      char === "n" ? "\n" : char,
    );
  }
  return labels;
}
