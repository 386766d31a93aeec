import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Ajv2020 } from "ajv/dist/2020.js";
import { expect } from "chai";
import { parse } from "yaml";

import { PACKAGE_ROOT } from "../../../common/version.ts";

interface OpenApi {
  readonly info: { readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<Method, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<
      Record<string, { readonly enum?: string[]; readonly [keyword: string]: unknown }>
    >;
  };
}

type Method = "get" | "post" | "delete";

interface Operation {
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { schema: { $ref?: string } }>> }>
  >;
}

/** docs/reference/agent-api.openapi.yaml. */
export const OPENAPI = parse(
  readFileSync(join(PACKAGE_ROOT, "docs/reference/agent-api.openapi.yaml"), "utf8"),
) as OpenApi;

const COMPONENTS = "#/components/schemas/";

const ajv = new Ajv2020({ allErrors: true });
// For readers more fields may come; for us each must be described.
ajv.addSchema({ $id: "doc", $defs: closed(OPENAPI.components.schemas) as Record<string, object> });

/** Paths that are answered to whoever asks. */
export const PLAIN_PATHS = Object.keys(OPENAPI.paths).filter(
  (path) => path !== "/metrics" && !path.includes("{"),
);

/** Expects that a reply is as the document says, and has no field that it does not describe. */
export function expectDocumented(
  path: string,
  reply: unknown,
  { method = "get", status = 200 }: { method?: Method; status?: number } = {},
): void {
  const content = OPENAPI.paths[path]?.[method].responses[String(status)]?.content;
  const ref = content?.["application/json"]?.schema.$ref;
  expectSchema(ref ?? `no schema for ${path}`, reply);
}

/** Expects that a reply that is not a success is as the document says. */
export function expectDocumentedError(reply: unknown): void {
  expectSchema("#/components/schemas/Error", reply);
}

function expectSchema(ref: string, value: unknown): void {
  const validate = ajv.compile({ $ref: ref.replace(COMPONENTS, "doc#/$defs/") });
  validate(value);
  expect(validate.errors ?? [], JSON.stringify(value)).to.deep.equal([]);
}

/** The same schemas without room for other properties, referring to each other as definitions. */
function closed(value: unknown): unknown {
  if (typeof value === "string") return value.replace(COMPONENTS, "#/$defs/");
  if (Array.isArray(value)) return value.map(closed);
  if (typeof value !== "object" || value === null) return value;
  const copy = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, closed(each)]));
  return "properties" in copy ? { ...copy, additionalProperties: false } : copy;
}
