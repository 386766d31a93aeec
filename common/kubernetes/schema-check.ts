import { Ajv } from "ajv";

import type { KubernetesObject } from "./objects.ts";
import type { StructuralSchema } from "./structural-schema.ts";

/** An object that passed, or what is wrong with it. */
export type Checked<T> =
  { readonly object: T; readonly problem?: undefined } | { readonly problem: string };

/** Words of OpenAPI and Kubernetes that say nothing about a value's shape to us. */
const ANNOTATIONS = [
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-map-type",
  "x-kubernetes-validations",
];

/** What every object from the API server has, and we rely on. */
const METADATA = {
  type: "object",
  required: ["name", "uid", "resourceVersion"],
  properties: {
    name: { type: "string" },
    namespace: { type: "string" },
    uid: { type: "string" },
    resourceVersion: { type: "string" },
    generation: { type: "integer" },
  },
};

/**
 * Makes the check of one kind of object by the schema of its definition.
 *
 * Fields that the schema does not have are let through: they belong to a newer version.
 */
export function compileCheck<T extends KubernetesObject>(
  schema: StructuralSchema,
): (value: unknown) => Checked<T> {
  const ajv = new Ajv({ formats: { "date-time": true, int32: true, int64: true } });
  ajv.addVocabulary(ANNOTATIONS);
  const validate = ajv.compile<T>({
    ...schema,
    required: ["metadata", ...(schema.required ?? [])],
    properties: { ...schema.properties, metadata: METADATA },
  });
  return (value) => {
    if (validate(value)) return { object: value };
    const [error] = validate.errors ?? [];
    const path = (error?.instancePath ?? "").slice(1).replaceAll("/", ".");
    const message = error?.message ?? "is not of the right shape";
    return { problem: path === "" ? message : `${path}: ${message}` };
  };
}
