import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import {
  NetworkPolicies,
  parseNetworkPolicy,
  type NetworkPolicy,
  type PolicyPod,
  type PolicyVerdict,
} from "../network-policy/engine.ts";
import type { NamespaceState } from "./namespace.ts";

/** A NetworkPolicy as it is kept. */
export interface KeptPolicy {
  readonly namespace: string;
  /** `undefined` when it is not understood: then it may say anything of the pods of its namespace. */
  readonly policy: NetworkPolicy | undefined;
}

/** Network policies as the rules ask them. */
export type NetworkJudge = (client: PolicyPod, server: PolicyPod, port: number) => PolicyVerdict;

/** Keeps a NetworkPolicy, understood or not: one that was left out would allow too much. */
export function takePolicy(object: KubernetesObject): KeptPolicy {
  const { namespace = "" } = object.metadata;
  const parsed = parseNetworkPolicy(object);
  return { namespace, policy: "problem" in parsed ? undefined : parsed };
}

/** What {@link networkJudge} goes by. */
export interface NetworkSources {
  readonly policies: Iterable<KeptPolicy>;
  readonly namespaces: ReadonlyMap<string, NamespaceState>;
  /** Whether an `ipBlock` is about pods. */
  readonly areBlocksForPods: boolean;
}

/** Makes the engine of what is known now. */
export function networkJudge(sources: NetworkSources): NetworkJudge {
  const { areBlocksForPods } = sources;
  const kept = [...sources.policies];
  const engine = new NetworkPolicies({
    policies: kept.flatMap(({ policy }) => (policy === undefined ? [] : [policy])),
    namespaces: new Map([...sources.namespaces].map(([name, { labels }]) => [name, labels])),
    areBlocksForPods,
  });
  const unclear = new Set(
    kept.filter(({ policy }) => policy === undefined).map(({ namespace }) => namespace),
  );
  return (client, server, port) => {
    const verdict = engine.decide(client, server, port);
    const isUnclear = unclear.has(client.namespace) || unclear.has(server.namespace);
    return verdict === "allowed" && isUnclear ? "unknown" : verdict;
  };
}
