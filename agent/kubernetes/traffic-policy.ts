// Which endpoints of a Service clients on this node are to use, by what the Service asks for. The
// rules are those of kube-proxy: pkg/proxy/topology.go, CategorizeEndpoints().
import type { SliceEndpoint } from "./endpoint-slice.ts";
import type { KubernetesService } from "./service.ts";

/** Where this agent is. */
export interface Place {
  readonly node: string;
  /** `undefined` when the node has none, or it is not known yet. */
  readonly zone: string | undefined;
}

/** The endpoints to use; none of them for a reason, if one can be given. */
export interface Choice<T> {
  readonly endpoints: readonly T[];
  readonly problem?: string;
}

/**
 * Chooses by readiness, internal policy and hints. Among those that are left, Shimmy prefers the ones
 * of this node by itself.
 *
 * @param all - Every endpoint of the Service.
 */
export function chooseEndpoints<T extends SliceEndpoint>(
  { key, isNodeLocal, problem }: Pick<KubernetesService, "key" | "isNodeLocal" | "problem">,
  all: readonly T[],
  place: Place,
): Choice<T> {
  if (problem !== undefined) return { endpoints: [], problem };
  if (all.length === 0) return { endpoints: [] };
  if (isNodeLocal) {
    const endpoints = usable(all.filter(({ node }) => node === place.node));
    if (endpoints.length > 0) return { endpoints };
    return {
      endpoints,
      problem: `service ${key} has internalTrafficPolicy Local and no ready pod on this node`,
    };
  }
  const endpoints = usable(hinted(all, place));
  if (endpoints.length > 0) return { endpoints };
  return { endpoints, problem: `service ${key} has no ready pod, of ${all.length}` };
}

/** Ready ones; when there are none, those that still serve while they end. */
function usable<T extends SliceEndpoint>(endpoints: readonly T[]): readonly T[] {
  const ready = endpoints.filter(({ isReady }) => isReady);
  if (ready.length > 0) return ready;
  return endpoints.filter(({ isServing, isTerminating }) => isServing && isTerminating);
}

/**
 * Hints are followed when every ready endpoint has one and one of them is for us: those for nodes
 * (`trafficDistribution: PreferSameNode`) before those for zones (`PreferSameZone`, `PreferClose`).
 */
function hinted<T extends SliceEndpoint>(all: readonly T[], { node, zone }: Place): readonly T[] {
  const ready = all.filter(({ isReady }) => isReady);
  if (ready.every(({ nodes }) => nodes.length > 0)) {
    const ours = ready.filter(({ nodes }) => nodes.includes(node));
    if (ours.length > 0) return ours;
  }
  if (zone !== undefined && ready.every(({ zones }) => zones.length > 0)) {
    const ours = ready.filter(({ zones }) => zones.includes(zone));
    if (ours.length > 0) return ours;
  }
  return all;
}
