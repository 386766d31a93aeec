import type { Condition, KubernetesObject, LabelSelector } from "./objects.ts";
import { compileCheck, type Checked } from "./schema-check.ts";
import {
  SHARED_MEMORY_OBJECT_SCHEMA,
  type CHANNEL_TRANSPORTS,
  type CHANNEL_TYPES,
} from "./shared-memory-object-schema.ts";

/** Who may take one role in a channel. */
export interface ChannelRoleSpec {
  readonly containers?: readonly string[];
  readonly podSelector?: LabelSelector;
  readonly allowedNamespaces?: readonly string[];
}

/** Leave for connections to one Service from other namespaces. */
export interface ConnectionGrant {
  readonly service: string;
  readonly ports?: readonly string[];
  readonly namespaces: readonly string[];
  readonly podSelector?: LabelSelector;
}

/** A SharedMemoryObject; docs/reference/shared-memory-object.md describes the fields. */
export interface SharedMemoryObject extends KubernetesObject {
  readonly spec: {
    readonly type?: (typeof CHANNEL_TYPES)[number];
    readonly duplex?: boolean;
    readonly publishers?: ChannelRoleSpec;
    readonly subscribers?: ChannelRoleSpec;
    readonly capacity?: { readonly blocks?: number; readonly blockBytes?: number };
    readonly readers?: number;
    readonly timeToLiveMilliseconds?: number;
    readonly transport?: (typeof CHANNEL_TRANSPORTS)[number];
    readonly connections?: readonly ConnectionGrant[];
  };
  readonly status?: SharedMemoryObjectStatus;
}

/** The status of a SharedMemoryObject. */
export interface SharedMemoryObjectStatus {
  readonly observedGeneration?: number;
  readonly publishers?: number;
  readonly subscribers?: number;
  readonly nodes?: number;
  readonly conditions?: readonly Condition[];
}

const checkShape = compileCheck<SharedMemoryObject>(SHARED_MEMORY_OBJECT_SCHEMA);

/**
 * Checks an object read from the API server.
 *
 * The server has checked it by the definition that is installed, which may be older than this code.
 * So shapes are checked again, and that no selector is empty: an empty one would select every pod.
 */
export function checkSharedMemoryObject(value: unknown): Checked<SharedMemoryObject> {
  const checked = checkShape(value);
  if (checked.problem !== undefined) return checked;
  const { publishers, subscribers, connections = [] } = checked.object.spec;
  const problem =
    roleProblem("spec.publishers", publishers) ??
    roleProblem("spec.subscribers", subscribers) ??
    connections
      .map(({ podSelector }, index) =>
        selectorProblem(`spec.connections[${index}].podSelector`, podSelector),
      )
      .find((each) => each !== undefined);
  return problem === undefined ? checked : { problem };
}

function roleProblem(path: string, role: ChannelRoleSpec | undefined): string | undefined {
  if (role === undefined) return undefined;
  const { containers, podSelector } = role;
  if (containers === undefined && podSelector === undefined) {
    return `${path}: a role must say who may take it: give containers or podSelector`;
  }
  return selectorProblem(`${path}.podSelector`, podSelector);
}

function selectorProblem(path: string, selector: LabelSelector | undefined): string | undefined {
  if (selector === undefined) return undefined;
  const { matchLabels = {}, matchExpressions = [] } = selector;
  if (Object.keys(matchLabels).length + matchExpressions.length > 0) return undefined;
  return `${path}: a selector must not be empty: give matchLabels or matchExpressions`;
}
