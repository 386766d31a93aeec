import { readFileSync } from "node:fs";
import { join } from "node:path";

import { parse } from "yaml";

import { PACKAGE_ROOT } from "../../common/version.ts";

/** What is read of values.schema.json. */
export interface ValueSchema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, ValueSchema>>;
}

/** One value: its path, what it is by default, and what it means. */
export interface ChartValue {
  readonly path: string;
  readonly default: unknown;
  readonly meaning: string | undefined;
}

/** All values of a schema that have no others below them, in its order. */
export function valuesOf(
  { properties = {} }: ValueSchema,
  given: unknown,
  above = "",
): ChartValue[] {
  return Object.entries(properties).flatMap(([name, schema]) => {
    const path = above + name;
    const value = (given as Readonly<Record<string, unknown>> | undefined)?.[name];
    if (schema.properties !== undefined) return valuesOf(schema, value, `${path}.`);
    return [{ path, default: value, meaning: schema.description }];
  });
}

/** The values of the chart as a Markdown table. */
export function describeValues(): string {
  const read = (name: string): string =>
    readFileSync(join(PACKAGE_ROOT, "manifests/chart", name), "utf8");
  const schema = JSON.parse(read("values.schema.json")) as ValueSchema;
  const rows = valuesOf(schema, parse(read("values.yaml")))
    .filter((value) => value.default !== undefined)
    .map(({ path, default: value, meaning = "" }) => {
      return `| \`${path}\` | \`${JSON.stringify(value)}\` | ${meaning.replaceAll("|", "\\|")} |`;
    });
  return ["| Value | Default | Meaning |", "|---|---|---|", ...rows].join("\n");
}
