import { conditions, labelName, objectName, type StructuralSchema } from "./structural-schema.ts";

/** What a pod may do with a channel. */
export const CHANNEL_ROLES = ["publisher", "subscriber"] as const;

/** Attachments that one ShimmyNode holds: some 600 KB, below what etcd takes. */
export const MAX_ATTACHMENTS = 2048;

const uid = (description: string): StructuralSchema => ({
  description,
  type: "string",
  minLength: 1,
  maxLength: 64,
});

const object: StructuralSchema = {
  description: "The SharedMemoryObject.",
  type: "object",
  required: ["namespace", "name", "uid"],
  properties: {
    namespace: labelName("Its namespace."),
    name: objectName("Its name."),
    uid: uid("Its UID: an object made again under the same name is another."),
  },
};

const pod: StructuralSchema = {
  description: "The pod.",
  type: "object",
  required: ["namespace", "name", "uid"],
  properties: {
    namespace: labelName("Its namespace."),
    name: objectName("Its name."),
    uid: uid("Its UID."),
  },
};

const attachment: StructuralSchema = {
  description: "One pod and one role in one channel.",
  type: "object",
  required: ["object", "pod", "role"],
  properties: {
    object,
    pod,
    role: { description: "What the pod may do.", type: "string", enum: CHANNEL_ROLES },
    containers: {
      description: "The containers that are meant. All when not given.",
      type: "array",
      maxItems: 32,
      "x-kubernetes-list-type": "set",
      items: labelName("Name of a container."),
    },
  },
};

/** The schema of ShimmyNode; manifests/base/crds is written from it. */
export const SHIMMY_NODE_SCHEMA: StructuralSchema = {
  description:
    "What the agent of one node is to attach, and what it has attached. Made and deleted by the " +
    "master; it has the name of the node.",
  type: "object",
  properties: {
    spec: {
      description: "What is wanted. Written by the master only.",
      type: "object",
      properties: {
        attachments: {
          description: "Pods of the node and the channels they take part in, in a fixed order.",
          type: "array",
          maxItems: MAX_ATTACHMENTS,
          "x-kubernetes-list-type": "atomic",
          items: attachment,
        },
      },
    },
    status: {
      description: "What is. Written by the node's agent only.",
      type: "object",
      properties: {
        observedGeneration: {
          description: "The generation of the object that this status is about.",
          type: "integer",
          format: "int64",
          minimum: 0,
        },
        agentVersion: {
          description: "Version of the agent that wrote this.",
          type: "string",
          maxLength: 64,
        },
        attached: {
          description: "Attachments that are made.",
          type: "integer",
          format: "int32",
          minimum: 0,
        },
        conditions: conditions("State of the node: Ready, Supported."),
      },
    },
  },
};
