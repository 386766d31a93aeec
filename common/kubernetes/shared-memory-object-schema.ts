import {
  conditions,
  labelName,
  labelSelector,
  type StructuralSchema,
} from "./structural-schema.ts";

/** Kinds of channel. */
export const CHANNEL_TYPES = ["Stream", "PubSub"] as const;

/** What a channel's bytes may travel by. */
export const CHANNEL_TRANSPORTS = ["auto", "shm", "rdma", "tcp"] as const;

function role(description: string): StructuralSchema {
  return {
    description,
    type: "object",
    properties: {
      containers: {
        description: "Names of containers; a pod is meant when it has one of them.",
        type: "array",
        minItems: 1,
        maxItems: 32,
        "x-kubernetes-list-type": "set",
        items: labelName("Name of a container."),
      },
      podSelector: labelSelector(
        "Labels of pods. With containers, a pod must satisfy both. It must not be empty.",
      ),
      allowedNamespaces: {
        description:
          "Namespaces whose pods may take this role, besides the object's own. None when not given.",
        type: "array",
        maxItems: 64,
        "x-kubernetes-list-type": "set",
        items: labelName("Name of a namespace."),
      },
    },
    "x-kubernetes-validations": [
      {
        rule: "has(self.containers) || has(self.podSelector)",
        message: "a role must say who may take it: give containers or podSelector",
      },
    ],
  };
}

const connection: StructuralSchema = {
  description: "One Service of this namespace and who may connect to it.",
  type: "object",
  required: ["service", "namespaces"],
  properties: {
    service: labelName("Name of the Service."),
    ports: {
      description: "Ports of the Service, by number or name. All of them when not given.",
      type: "array",
      minItems: 1,
      maxItems: 64,
      "x-kubernetes-list-type": "set",
      items: {
        description: "Number or name of a port.",
        type: "string",
        minLength: 1,
        maxLength: 63,
        pattern: "^([1-9][0-9]{0,4}|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$",
      },
    },
    namespaces: {
      description: "Namespaces whose pods may connect.",
      type: "array",
      minItems: 1,
      maxItems: 64,
      "x-kubernetes-list-type": "set",
      items: labelName("Name of a namespace."),
    },
    podSelector: labelSelector(
      "Labels of the pods that may connect. All pods of those namespaces when not given.",
    ),
  },
};

const spec: StructuralSchema = {
  description: "What is wanted.",
  type: "object",
  properties: {
    type: {
      description:
        "Kind of channel. Stream: each record is read once, by one consumer. PubSub: each record " +
        "is read by every subscriber. It cannot be changed. Without it the object makes no channel " +
        "and only grants connections.",
      type: "string",
      enum: CHANNEL_TYPES,
    },
    duplex: {
      description: "Stream only: whether records flow in both directions. Default: false.",
      type: "boolean",
    },
    publishers: role("Who may write."),
    subscribers: role("Who may read."),
    capacity: {
      description: "Size of the channel. What is not given has its default.",
      type: "object",
      properties: {
        blocks: {
          description: "Number of blocks; a record takes at least one.",
          type: "integer",
          format: "int32",
          minimum: 2,
          maximum: 65_536,
          default: 64,
        },
        blockBytes: {
          description: "Bytes of one block, a multiple of 64.",
          type: "integer",
          format: "int32",
          minimum: 64,
          maximum: 1_048_576,
          default: 4096,
        },
      },
      "x-kubernetes-validations": [
        { rule: "self.blockBytes % 64 == 0", message: "blockBytes must be a multiple of 64" },
        {
          rule: "self.blocks * self.blockBytes <= 1073741824",
          message: "a channel has at most 1 GiB: blocks times blockBytes is more",
        },
      ],
    },
    readers: {
      description:
        "PubSub only: a record stays until at least so many subscribers have read it, or its time " +
        "is over. Default: 1.",
      type: "integer",
      format: "int32",
      minimum: 1,
      maximum: 1024,
    },
    timeToLiveMilliseconds: {
      description:
        "PubSub only: a record that was not read may be overwritten after this time. Default: 1000.",
      type: "integer",
      format: "int32",
      minimum: 1,
      maximum: 86_400_000,
    },
    transport: {
      description:
        "What bytes may travel by. auto: shared memory on one node, RDMA between nodes where the " +
        "hardware is there, else TCP.",
      type: "string",
      enum: CHANNEL_TRANSPORTS,
      default: "auto",
    },
    connections: {
      description:
        "Connections across namespaces that may leave TCP, with or without a channel. Between pods " +
        "of one namespace nothing needs to be granted.",
      type: "array",
      maxItems: 64,
      "x-kubernetes-list-type": "atomic",
      items: connection,
    },
  },
  "x-kubernetes-validations": [
    {
      rule: "has(self.type) == has(oldSelf.type) && (!has(self.type) || self.type == oldSelf.type)",
      message: "type cannot be changed: delete the object and create it again",
    },
    {
      rule: "has(self.type) || (has(self.connections) && size(self.connections) > 0)",
      message: "give type, for a channel, or connections, or both",
    },
    {
      rule: "has(self.type) ? has(self.publishers) && has(self.subscribers) : !has(self.publishers) && !has(self.subscribers)",
      message: "a channel needs publishers and subscribers, and only a channel has them",
    },
    {
      rule: "!has(self.duplex) || (has(self.type) && self.type == 'Stream')",
      message: "duplex is for type Stream only",
    },
    {
      rule: "(!has(self.readers) && !has(self.timeToLiveMilliseconds)) || (has(self.type) && self.type == 'PubSub')",
      message: "readers and timeToLiveMilliseconds are for type PubSub only",
    },
  ],
};

const count = (description: string): StructuralSchema => ({
  description,
  type: "integer",
  format: "int32",
  minimum: 0,
});

const status: StructuralSchema = {
  description: "What is. Written by the master.",
  type: "object",
  properties: {
    observedGeneration: {
      description: "The generation of the object that this status is about.",
      type: "integer",
      format: "int64",
      minimum: 0,
    },
    publishers: count("Pods that take the role of a publisher."),
    subscribers: count("Pods that take the role of a subscriber."),
    nodes: count("Nodes on which those pods run."),
    conditions: conditions("State of the object: Ready, Accepted, Attached, Supported."),
  },
};

/** The schema of SharedMemoryObject; manifests/base/crds is written from it. */
export const SHARED_MEMORY_OBJECT_SCHEMA: StructuralSchema = {
  description:
    "A channel in shared memory between the pods that it selects, or leave for connections across " +
    "namespaces to travel through shared memory, or both.",
  type: "object",
  required: ["spec"],
  properties: { spec, status },
};
