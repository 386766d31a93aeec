import { matchesSelector, type KubernetesObject } from "../../common/kubernetes/objects.ts";
import {
  checkSharedMemoryObject,
  type ConnectionGrant,
} from "../../common/kubernetes/shared-memory-object.ts";
import { ShimmyError } from "../../common/errors.ts";
import type { Backing } from "../catalog.ts";
import type { LocalPod } from "./local-pod.ts";
import { takeChannel, type ObjectChannel } from "./topic-grants.ts";

/** What one SharedMemoryObject grants: connections across namespaces, roles in its channel. */
export interface ObjectGrants {
  readonly namespace: string;
  readonly connections: readonly ConnectionGrant[];
  readonly channel?: ObjectChannel;
}

/**
 * Keeps what an object grants.
 *
 * @returns Nothing when it grants nothing, or is being deleted.
 * @throws {@link ShimmyError} `SHIMMY_ERR_KUBERNETES_API` when it is not sound.
 */
export function takeGrants(object: KubernetesObject): ObjectGrants | undefined {
  const { namespace = "", deletionTimestamp } = object.metadata;
  const checked = checkSharedMemoryObject(object);
  if (checked.problem !== undefined) {
    throw new ShimmyError("SHIMMY_ERR_KUBERNETES_API", checked.problem);
  }
  const { connections = [] } = checked.object.spec;
  if (deletionTimestamp !== undefined) return undefined;
  const channel = takeChannel(checked.object);
  if (channel !== undefined) return { namespace, connections, channel };
  return connections.length === 0 ? undefined : { namespace, connections };
}

/** Connections across namespaces that objects grant. */
export class ConnectionGrants {
  readonly #byNamespace: ReadonlyMap<string, readonly ConnectionGrant[]>;

  constructor(objects: Iterable<ObjectGrants>) {
    const grouped = Map.groupBy(objects, ({ namespace }) => namespace);
    this.#byNamespace = new Map(
      [...grouped].map(([namespace, each]) => [
        namespace,
        each.flatMap(({ connections }) => connections),
      ]),
    );
  }

  /**
   * Whether a pod may call a backing of a Service in another namespace.
   *
   * Only objects of the Service's own namespace are asked.
   */
  allow(client: Pick<LocalPod, "namespace" | "labels">, backing: Backing): boolean {
    const [namespace = "", name = ""] = backing.service.split("/");
    const grants = this.#byNamespace.get(namespace) ?? [];
    return grants.some(
      ({ service, namespaces, podSelector, ports }) =>
        service === name &&
        namespaces.includes(client.namespace) &&
        (podSelector === undefined || matchesSelector(podSelector, client.labels)) &&
        hasPort(ports, backing),
    );
  }
}

/** Grants are for target ports: one that a port of the Service leads to is enough. */
function hasPort(ports: readonly string[] | undefined, { servicePorts }: Backing): boolean {
  if (ports === undefined) return true;
  return servicePorts.some(
    ({ name, port }) => ports.includes(String(port)) || (name !== "" && ports.includes(name)),
  );
}
