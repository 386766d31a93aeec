import type { StructuralSchema } from "../../common/kubernetes/structural-schema.ts";

/** A field and where it is. */
interface Field {
  readonly path: string;
  readonly schema: StructuralSchema;
  readonly isRequired: boolean;
}

/**
 * The fields of a kind as Markdown tables, one for `spec` and one for `status`.
 *
 * @returns Lines joined by line feeds, without one at the end.
 */
export function describeSchema(schema: StructuralSchema): string {
  return Object.entries(schema.properties ?? {})
    .map(([name, part]) => [`## ${name}`, "", part.description, "", table(part)].join("\n"))
    .join("\n\n");
}

function table(part: StructuralSchema): string {
  const rows = fieldsOf(part, "").map(({ path, schema, isRequired }) => {
    const cells = [`\`${path}\``, typeOf(schema), limits(schema, isRequired), schema.description];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  });
  const heading = ["| Field | Type | Limits | Meaning |", "|---|---|---|---|"];
  const rules = rulesOf(part);
  if (rules.length === 0) return [...heading, ...rows].join("\n");
  return [...heading, ...rows, "", "Also:", "", ...rules.map((rule) => `- ${rule}`)].join("\n");
}

function fieldsOf({ properties = {}, required = [] }: StructuralSchema, above: string): Field[] {
  return Object.entries(properties).flatMap(([name, schema]) => {
    const path = `${above}${name}`;
    const isRequired = required.includes(name);
    if (schema.items === undefined) {
      return [{ path, schema, isRequired }, ...fieldsOf(schema, `${path}.`)];
    }
    return [{ path, schema, isRequired }, ...fieldsOf(schema.items, `${path}[].`)];
  });
}

function typeOf({ type, items, additionalProperties }: StructuralSchema): string {
  if (items !== undefined) return `${type} of ${items.type}`;
  return additionalProperties === undefined ? type : `map of ${additionalProperties.type}`;
}

function limits(schema: StructuralSchema, isRequired: boolean): string {
  const { minimum, maximum, minItems, maxItems, maxLength, maxProperties } = schema;
  const words = [
    isRequired ? "required" : "",
    schema.enum === undefined ? "" : schema.enum.map((word) => `\`${word}\``).join(", "),
    between(minimum, maximum, ""),
    between(minItems, maxItems, " items"),
    between(undefined, maxLength, " characters"),
    between(undefined, maxProperties, " entries"),
    schema.default === undefined ? "" : `default \`${String(schema.default)}\``,
  ];
  return words.filter((word) => word !== "").join("; ");
}

function between(low: number | undefined, high: number | undefined, unit: string): string {
  if (low === undefined && high === undefined) return "";
  if (high === undefined) return `at least ${String(low)}${unit}`;
  return low === undefined ? `at most ${high}${unit}` : `${low} to ${high}${unit}`;
}

/** The messages of all rules, each once. */
function rulesOf(schema: StructuralSchema): string[] {
  const below = [
    ...Object.values(schema.properties ?? {}),
    ...(schema.items === undefined ? [] : [schema.items]),
  ];
  const own = (schema["x-kubernetes-validations"] ?? []).map(({ message }) => message);
  return [...new Set([...own, ...below.flatMap(rulesOf)])];
}
