import type { SharedMemoryObject } from "../../../common/kubernetes/shared-memory-object.ts";
import {
  takeObject,
  takePod,
  type FoundObject,
  type MasterPod,
  type World,
} from "../../../master/world.ts";

/** What a test says of a pod; the rest is usual. */
export interface PodSketch {
  readonly name: string;
  readonly namespace?: string;
  readonly node?: string | null;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly containers?: readonly string[];
  readonly sidecar?: "native" | "container" | "none";
  readonly phase?: string;
  readonly createdAt?: string;
  /** Name of its controller. */
  readonly owner?: string;
  readonly ownerKind?: string;
  readonly isReady?: boolean;
  readonly isTerminating?: boolean;
}

const USUAL = {
  namespace: "market",
  node: "n1",
  labels: {},
  annotations: {},
  containers: ["app"],
  sidecar: "native",
  phase: "Running",
  createdAt: "2026-01-01T00:00:00Z",
  ownerKind: "ReplicaSet",
  isReady: true,
  isTerminating: false,
};

/** A pod as the API server has it. */
export function rawPod(sketch: PodSketch): {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly spec: unknown;
  readonly status: unknown;
} {
  const { name, namespace, node, labels, annotations, containers, sidecar, phase, createdAt } = {
    ...USUAL,
    ...sketch,
  };
  const { owner, ownerKind, isReady, isTerminating } = { ...USUAL, ...sketch };
  const ownerReferences = owner === undefined ? [] : [controllerOf(owner, ownerKind)];
  const mine = [{ name: "shimmy-sidecar" }];
  const own = containers.map((each) => ({ name: each }));
  const metadata = { name, namespace, uid: `uid-${name}`, labels, annotations };
  return {
    metadata: {
      ...metadata,
      ...{ creationTimestamp: createdAt, ownerReferences },
      ...(isTerminating ? { deletionTimestamp: createdAt } : {}),
    },
    spec: {
      ...(node === null ? {} : { nodeName: node }),
      containers: sidecar === "container" ? [...own, ...mine] : own,
      initContainers: sidecar === "native" ? mine : [],
    },
    status: { phase, conditions: [{ type: "Ready", status: isReady ? "True" : "False" }] },
  };
}

function controllerOf(name: string, kind: string): object {
  const apiVersion = kind === "Job" ? "batch/v1" : "apps/v1";
  return { apiVersion, kind, name, uid: `uid-${name}`, controller: true };
}

/** A pod as the master keeps it. */
export function pod(sketch: PodSketch): MasterPod {
  return takePod(rawPod(sketch));
}

/** A sound object of namespace `market`. */
export function object(
  name: string,
  spec: unknown,
  metadata: Partial<SharedMemoryObject["metadata"]> = {},
): FoundObject {
  const usual = { name, namespace: "market", uid: `uid-${name}`, resourceVersion: "1" };
  return takeObject({ metadata: { ...usual, generation: 3, ...metadata }, ...{ spec } });
}

/** A world of these objects and pods on nodes n1 and n2. */
export function world(objects: readonly FoundObject[], pods: readonly MasterPod[]): World {
  const key = ({ namespace, name }: { namespace: string; name: string }): string =>
    `${namespace}/${name}`;
  return {
    objects: new Map(objects.map((each) => [key(each.metadata), each])),
    pods: new Map(pods.map((each) => [key(each), each])),
    nodes: new Map(["n1", "n2"].map((name) => [name, { name, uid: `uid-${name}` }])),
  };
}
