import { Ajv, type ErrorObject } from "ajv";
import { isIP } from "node:net";

import { didYouMean } from "../common/suggest.ts";
import { MAX_APP_PORTS, MAX_SERVICE_PORTS } from "./api-limits.ts";
import { PARAMETER_SCHEMAS, type ChannelParameters } from "./channels/parameters.ts";
import { LABEL_PATTERN, REFERENCE_PATTERN, SUBDOMAIN_PATTERN, UID_PATTERN } from "./names.ts";

/** A catalog file as it is written; docs/reference/catalog.md describes the keys. */
export interface CatalogFile {
  readonly node?: string;
  readonly pods: readonly CatalogFilePod[];
  readonly services?: readonly CatalogFileService[];
  readonly connections?: readonly CatalogFileRule[];
  readonly deny?: readonly CatalogFileRule[];
  readonly topics?: readonly CatalogFileTopic[];
}

/** An entry of `pods`. */
export interface CatalogFilePod {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly address: string;
  readonly runAs?: readonly number[];
  readonly injected?: boolean;
  readonly ports?: readonly number[];
  readonly node?: string;
}

/** An entry of `services`. */
export interface CatalogFileService {
  readonly name: string;
  readonly namespace?: string;
  readonly ports: readonly {
    readonly name?: string;
    readonly port: number;
    readonly targetPort?: number;
  }[];
  readonly pods: readonly string[];
}

/** An entry of `connections` or `deny`: from a pod to a service. */
export interface CatalogFileRule {
  readonly from: string;
  readonly to: string;
}

/** An entry of `topics`. */
export interface CatalogFileTopic extends Partial<ChannelParameters> {
  readonly name: string;
  readonly namespace?: string;
  readonly publishers?: readonly string[];
  readonly subscribers?: readonly string[];
}

/** One reason why a file is refused, and the place in it. */
export interface CatalogProblem {
  /** Keys and positions from the top of the file. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

const port = { type: "integer", minimum: 1, maximum: 65_535 };
const label = {
  type: "string",
  pattern: LABEL_PATTERN,
  "x-expected": "a name such as orders or web-1",
};
const podName = { ...label, pattern: SUBDOMAIN_PATTERN };
const uid = {
  type: "string",
  pattern: UID_PATTERN,
  "x-expected": "letters, digits, '.', '_' and '-'",
};
const node = { type: "string", minLength: 1, maxLength: 253 };
const reference = {
  type: "string",
  pattern: REFERENCE_PATTERN,
  "x-expected": "a name, or namespace/name",
};

const pod = strict(
  {
    name: podName,
    namespace: label,
    uid,
    address: { type: "string", format: "ip" },
    runAs: {
      type: "array",
      minItems: 1,
      maxItems: 64,
      items: { type: "integer", minimum: 0, maximum: 0xffff_fffe },
    },
    injected: { type: "boolean" },
    ports: { type: "array", maxItems: MAX_APP_PORTS, uniqueItems: true, items: port },
    node,
  },
  ["name", "address"],
);

const service = strict(
  {
    name: label,
    namespace: label,
    ports: {
      type: "array",
      minItems: 1,
      maxItems: MAX_SERVICE_PORTS,
      items: strict({ name: label, port, targetPort: port }, ["port"]),
    },
    pods: { type: "array", maxItems: 8192, items: reference },
  },
  ["name", "ports", "pods"],
);

const rules = {
  type: "array",
  maxItems: 65_536,
  items: strict({ from: reference, to: reference }, ["from", "to"]),
};

const roles = { type: "array", maxItems: 8192, items: reference };
const topic = strict(
  { name: podName, namespace: label, publishers: roles, subscribers: roles, ...PARAMETER_SCHEMAS },
  ["name"],
);

const CATALOG_SCHEMA = strict(
  {
    node,
    pods: { type: "array", maxItems: 8192, items: pod },
    services: { type: "array", maxItems: 8192, items: service },
    connections: rules,
    deny: rules,
    topics: { type: "array", maxItems: 8192, items: topic },
  },
  ["pods"],
);

const ajv = new Ajv({
  allErrors: true,
  verbose: true,
  formats: { ip: (text: string) => isIP(text) !== 0 },
});
ajv.addKeyword("x-expected");
const validate = ajv.compile<CatalogFile>(CATALOG_SCHEMA);

/**
 * Checks the shape of a parsed catalog file, not what its entries refer to.
 *
 * @returns The problems; none when `value` is a {@link CatalogFile}.
 */
export function checkCatalogShape(value: unknown): CatalogProblem[] {
  if (validate(value)) return [];
  return (validate.errors ?? []).map(toProblem);
}

function strict(properties: Readonly<Record<string, object>>, required: readonly string[]): object {
  return { type: "object", properties, required, additionalProperties: false };
}

function toProblem(error: ErrorObject): CatalogProblem {
  const path = error.instancePath
    .split("/")
    .slice(1)
    .map((step) => (/^\d+$/.test(step) ? Number(step) : step));
  const { additionalProperty, missingProperty } = error.params as Record<
    string,
    string | undefined
  >;
  if (additionalProperty !== undefined) {
    const known = Object.keys((error.parentSchema as { properties: object }).properties);
    const hint = didYouMean(additionalProperty, known);
    return {
      path: [...path, additionalProperty],
      message: `unknown key "${additionalProperty}"${hint}`,
    };
  }
  if (missingProperty !== undefined) return { path, message: `"${missingProperty}" is missing` };
  return { path, message: `${expectation(error)}, got ${show(error.data)}` };
}

function expectation({ keyword, message, parentSchema }: ErrorObject): string {
  const expected = (parentSchema as { "x-expected"?: string } | undefined)?.["x-expected"];
  if (keyword === "pattern" && expected !== undefined) return `must be ${expected}`;
  if (keyword === "format") return "must be an IPv4 or IPv6 address";
  return message ?? "is invalid";
}

function show(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
