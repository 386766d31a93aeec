import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import type { NamedPort } from "./local-pod.ts";

/** A pod as network policies see it. */
export interface PolicyPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly node: string;
  readonly namedPorts: readonly NamedPort[];
  readonly hostNetwork: boolean;
}

/** A NetworkPolicy as it is kept. */
export interface KeptPolicy {
  readonly namespace: string;
}

/** What network policies say of a connection. */
export type NetworkVerdict = "allowed" | "denied" | "unknown";

/** Network policies as the rules ask them. */
export type NetworkJudge = (client: PolicyPod, server: PolicyPod, port: number) => NetworkVerdict;

/** Keeps a NetworkPolicy. */
export function takePolicy({ metadata: { namespace = "" } }: KubernetesObject): KeptPolicy {
  return { namespace };
}

/** A namespace without NetworkPolicies allows everything; what one with them allows is not known. */
export function networkJudge(policies: Iterable<KeptPolicy>): NetworkJudge {
  const governed = new Set([...policies].map(({ namespace }) => namespace));
  return (client, server) =>
    governed.has(client.namespace) || governed.has(server.namespace) ? "unknown" : "allowed";
}
