/** A JSON schema (draft 7, as ajv reads it). */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** An object schema: the properties listed, all required but the optional ones. */
export function objectSchema(
  properties: Readonly<Record<string, JsonSchema>>,
  optional: readonly string[] = [],
): JsonSchema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: "object", properties, required };
}

/** An array schema with a bound. */
export function arraySchema(items: JsonSchema, maxItems: number): JsonSchema {
  return { type: "array", items, maxItems };
}
