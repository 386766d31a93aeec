import { CLUSTER_KEYS, clusterName } from "./config.ts";
import { NOT_BUILT, VOCABULARY, WRITTEN, type Place, type SettingName } from "./vocabulary.ts";

/**
 * The tables of docs/reference/annotations.md, by their heading; a test keeps the page equal.
 *
 * @returns Markdown without a line feed at the end.
 */
export function describeVocabulary(): ReadonlyMap<string, string> {
  return new Map([
    ["Keys", table(["Key", "Where", "When not set", "Example", "Meaning"], settingRows())],
    ["Keys that Shimmy writes", table(["Key", "Where", "Meaning"], writtenRows())],
    ["Reserved keys", table(["Key", "For"], Object.entries(NOT_BUILT).map(reservedRow))],
    ["Settings of the cluster", table(["Key", "When not set", "Meaning"], clusterRows())],
  ]);
}

function settingRows(): string[][] {
  return Object.values(VOCABULARY).map(({ key, places, unset, example, doc }) => [
    code(key),
    places.filter((place: Place) => place !== "cluster").join(", "),
    unset,
    code(example),
    doc,
  ]);
}

function writtenRows(): string[][] {
  return Object.values(WRITTEN).map(({ key, place, doc }) => [code(key), place, doc]);
}

function reservedRow([key, feature]: [string, string]): string[] {
  return [code(key), feature];
}

function clusterRows(): string[][] {
  const own = Object.entries(CLUSTER_KEYS).map(([key, entry]) => {
    const { default: value, doc } = entry;
    return [code(key), value === "" ? "none" : code(value), doc];
  });
  const shared = (Object.keys(VOCABULARY) as SettingName[]).flatMap((name) => {
    const key = clusterName(name);
    return key === undefined ? [] : [[code(key), "", `As ${code(VOCABULARY[name].key)}.`]];
  });
  return [...own, ...shared];
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(heads), `|${"---|".repeat(heads.length)}`, ...rows.map(line)].join("\n");
}

function code(text: string): string {
  return `\`${text}\``;
}
