/** A check in CEL that the API server makes. @see https://kubernetes.io/docs/reference/using-api/cel/ */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
}

/**
 * The part of OpenAPI v3 that our CustomResourceDefinitions use.
 *
 * Every property has a description: `kubectl explain` shows it.
 *
 * @see https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
 */
export interface StructuralSchema {
  readonly description: string;
  readonly type: "object" | "array" | "string" | "integer" | "boolean";
  readonly enum?: readonly string[];
  readonly default?: string | number | boolean;
  readonly format?: "date-time" | "int64" | "int32";
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly items?: StructuralSchema;
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly additionalProperties?: StructuralSchema;
  readonly required?: readonly string[];
  readonly "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: "atomic";
  readonly "x-kubernetes-validations"?: readonly CelRule[];
}

/** A name as RFC 1123 has it for labels; namespaces, containers and ports have such names. */
const LABEL_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/** A name as RFC 1123 has it for host names; most objects have such names. */
const SUBDOMAIN_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/** A name such as those of namespaces and containers. */
export function labelName(description: string): StructuralSchema {
  return { description, type: "string", minLength: 1, maxLength: 63, pattern: LABEL_PATTERN };
}

/** A name such as those of pods. */
export function objectName(description: string): StructuralSchema {
  return { description, type: "string", minLength: 1, maxLength: 253, pattern: SUBDOMAIN_PATTERN };
}

/** The conditions of an object's status. */
export function conditions(description: string): StructuralSchema {
  return {
    description,
    type: "array",
    maxItems: 16,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    items: {
      description: "One aspect of the object's state.",
      type: "object",
      required: ["type", "status", "reason", "message", "lastTransitionTime"],
      properties: {
        type: { description: "What it is about.", type: "string", minLength: 1, maxLength: 63 },
        status: {
          description: "Whether it holds.",
          type: "string",
          enum: ["True", "False", "Unknown"],
        },
        reason: {
          description: "Why, as one word of a closed list.",
          type: "string",
          minLength: 1,
          maxLength: 63,
          pattern: "^[A-Z][A-Za-z]*$",
        },
        message: { description: "Why, as a sentence.", type: "string", maxLength: 4096 },
        lastTransitionTime: {
          description: "When status changed last.",
          type: "string",
          format: "date-time",
        },
        observedGeneration: {
          description: "The generation of the object that was looked at.",
          type: "integer",
          format: "int64",
          minimum: 0,
        },
      },
    },
  };
}

/** Which pods are meant, by their labels; the same form as everywhere in Kubernetes. */
export function labelSelector(description: string): StructuralSchema {
  return {
    description,
    type: "object",
    "x-kubernetes-map-type": "atomic",
    properties: {
      matchLabels: {
        description: "Labels that a pod must have, with these values.",
        type: "object",
        maxProperties: 32,
        additionalProperties: { description: "The value.", type: "string", maxLength: 63 },
      },
      matchExpressions: {
        description: "Requirements that a pod's labels must meet, all of them.",
        type: "array",
        maxItems: 32,
        "x-kubernetes-list-type": "atomic",
        items: labelRequirement(),
      },
    },
    "x-kubernetes-validations": [
      {
        rule: "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
        message: "a selector must not be empty: give matchLabels or matchExpressions",
      },
    ],
  };
}

function labelRequirement(): StructuralSchema {
  return {
    description: "One requirement.",
    type: "object",
    required: ["key", "operator"],
    properties: {
      key: { description: "Name of the label.", type: "string", minLength: 1, maxLength: 317 },
      operator: {
        description: "How the label is compared.",
        type: "string",
        enum: ["In", "NotIn", "Exists", "DoesNotExist"],
      },
      values: {
        description: "Values for In and NotIn; none for the others.",
        type: "array",
        maxItems: 32,
        "x-kubernetes-list-type": "atomic",
        items: { description: "A value.", type: "string", maxLength: 63 },
      },
    },
    "x-kubernetes-validations": [
      {
        rule: "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",
        message: "In and NotIn need values, Exists and DoesNotExist have none",
      },
    ],
  };
}
