import type { Condition, KubernetesObject } from "./objects.ts";
import { compileCheck } from "./schema-check.ts";
import { SHIMMY_NODE_SCHEMA, type CHANNEL_ROLES } from "./shimmy-node-schema.ts";

/** What a pod may do with a channel. */
export type ChannelRole = (typeof CHANNEL_ROLES)[number];

/** An object, and which of those that had its name. */
export interface ObjectReference {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** One pod and one role in one channel. */
export interface Attachment {
  readonly object: ObjectReference;
  readonly pod: ObjectReference;
  readonly role: ChannelRole;
  /** All of them when not given. */
  readonly containers?: readonly string[];
}

/** A ShimmyNode; docs/reference/shimmy-node.md describes the fields. */
export interface ShimmyNode extends KubernetesObject {
  readonly spec?: { readonly attachments?: readonly Attachment[] };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly agentVersion?: string;
    readonly attached?: number;
    readonly conditions?: readonly Condition[];
  };
}

/** Checks an object read from the API server; the definition installed may be older than this code. */
export const checkShimmyNode = compileCheck<ShimmyNode>(SHIMMY_NODE_SCHEMA);
