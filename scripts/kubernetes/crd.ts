import { stringify } from "yaml";

import { RESOURCES, SHIMMY_API_VERSION, type Resource } from "../../common/kubernetes/resources.ts";
import { SHARED_MEMORY_OBJECT_SCHEMA } from "../../common/kubernetes/shared-memory-object-schema.ts";
import { SHIMMY_NODE_SCHEMA } from "../../common/kubernetes/shimmy-node-schema.ts";
import type { StructuralSchema } from "../../common/kubernetes/structural-schema.ts";

/** A column that `kubectl get` shows. */
interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  readonly jsonPath: string;
  readonly description: string;
  /** 1: only with `-o wide`. */
  readonly priority?: 1;
}

interface CrdSource {
  readonly resource: Resource;
  readonly page: string;
  readonly shortNames: readonly string[];
  readonly schema: StructuralSchema;
  readonly columns: readonly PrinterColumn[];
}

const [GROUP = "", VERSION = ""] = SHIMMY_API_VERSION.split("/");

const condition = (type: string, field: string): string =>
  `.status.conditions[?(@.type=="${type}")].${field}`;

const AGE: PrinterColumn = {
  name: "Age",
  type: "date",
  jsonPath: ".metadata.creationTimestamp",
  description: "Time since it was created.",
};

const SOURCES: readonly CrdSource[] = [
  {
    resource: RESOURCES.sharedMemoryObjects,
    page: "shared-memory-object",
    shortNames: ["smo"],
    schema: SHARED_MEMORY_OBJECT_SCHEMA,
    columns: [
      { name: "Type", type: "string", jsonPath: ".spec.type", description: "Kind of channel." },
      {
        name: "Ready",
        type: "string",
        jsonPath: condition("Ready", "status"),
        description: "Whether all of it is in effect.",
      },
      {
        name: "Publishers",
        type: "integer",
        jsonPath: ".status.publishers",
        description: "Pods that may write.",
      },
      {
        name: "Subscribers",
        type: "integer",
        jsonPath: ".status.subscribers",
        description: "Pods that may read.",
      },
      {
        name: "Transport",
        type: "string",
        jsonPath: ".spec.transport",
        description: "What bytes may travel by.",
      },
      {
        name: "Reason",
        type: "string",
        jsonPath: condition("Ready", "reason"),
        description: "Why it is ready or not.",
        priority: 1,
      },
      AGE,
    ],
  },
  {
    resource: RESOURCES.shimmyNodes,
    page: "shimmy-node",
    shortNames: [],
    schema: SHIMMY_NODE_SCHEMA,
    columns: [
      {
        name: "Ready",
        type: "string",
        jsonPath: condition("Ready", "status"),
        description: "Whether the agent does all that is wanted.",
      },
      {
        name: "Attached",
        type: "integer",
        jsonPath: ".status.attached",
        description: "Attachments that are made.",
      },
      {
        name: "Agent",
        type: "string",
        jsonPath: ".status.agentVersion",
        description: "Version of the agent.",
      },
      {
        name: "Reason",
        type: "string",
        jsonPath: condition("Ready", "reason"),
        description: "Why it is ready or not.",
        priority: 1,
      },
      AGE,
    ],
  },
];

/** A CustomResourceDefinition and the file it lies in. */
export interface CrdFile {
  /** Path from the top of the repository. */
  readonly path: string;
  /** Path of the reference page. */
  readonly page: string;
  /** The object, as JSON. */
  readonly definition: unknown;
  readonly schema: StructuralSchema;
}

/** The CustomResourceDefinitions, made from the schemas that our own checks use. */
export function crdFiles(): readonly CrdFile[] {
  return SOURCES.map((source) => ({
    path: `manifests/base/crds/${source.resource.plural}.yaml`,
    page: `docs/reference/${source.page}.md`,
    definition: definition(source),
    schema: source.schema,
  }));
}

/** A CustomResourceDefinition as the file that is installed. */
export function renderCrd({ definition: object }: CrdFile): string {
  const note =
    "# Made from the schemas in common/kubernetes by scripts/kubernetes/write.ts; do not edit.\n";
  return note + stringify(object, { lineWidth: 100, aliasDuplicateObjects: false });
}

function definition({ resource, shortNames, schema, columns }: CrdSource): unknown {
  const { kind, plural, isNamespaced } = resource;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: isNamespaced ? "Namespaced" : "Cluster",
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        ...(shortNames.length === 0 ? {} : { shortNames }),
        categories: ["shimmy"],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: columns,
          schema: { openAPIV3Schema: withTypeMeta(schema) },
        },
      ],
    },
  };
}

/** Every object has these three; their schema belongs to Kubernetes. */
function withTypeMeta(schema: StructuralSchema): unknown {
  const { properties, ...rest } = schema;
  return {
    ...rest,
    properties: {
      apiVersion: { description: "Group and version of the kind.", type: "string" },
      kind: { description: "The kind.", type: "string" },
      metadata: { type: "object" },
      ...properties,
    },
  };
}
