// NetworkPolicies, evaluated as the API defines them, for TCP between two pods. Pure.
//
//   E1  never more permissive than the network: where implementations may differ, or something is not
//       known, the answer is "unknown" unless something else denies
//   E2  both directions have to allow: egress of the client and ingress of the server
//   E3  the port is that of the server's pod, after Services were translated
import { contains } from "./ip-block.ts";
import type { NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule } from "./parse.ts";
import { matchesSelector } from "../../common/kubernetes/objects.ts";

export { parseNetworkPolicy, type NetworkPolicy } from "./parse.ts";

/** A pod, with all that policies ask of it. */
export interface PolicyPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly node: string;
  readonly namedPorts: readonly {
    readonly name: string;
    readonly port: number;
    readonly protocol: "TCP" | "UDP" | "SCTP";
  }[];
  readonly hostNetwork: boolean;
}

/** What is known at one moment. */
export interface PolicySnapshot {
  readonly policies: readonly NetworkPolicy[];
  /** Labels of every namespace. */
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /**
   * Whether an `ipBlock` is about pods with such addresses. The API leaves it open; Cilium takes
   * it for addresses outside of the cluster only.
   *
   * @defaultValue true
   */
  readonly areBlocksForPods?: boolean;
}

/** What policies say of a connection; `unknown` is to be taken for denied. */
export type PolicyVerdict = "allowed" | "denied" | "unknown";

/** Whether something matches, as far as can be told. */
type Match = "yes" | "no" | "perhaps";

interface Direction {
  readonly type: "Ingress" | "Egress";
  /** The pod whose policies are asked. */
  readonly subject: PolicyPod;
  /** The pod that its rules are about. */
  readonly peer: PolicyPod;
}

interface Target {
  readonly server: PolicyPod;
  readonly port: number;
}

/** @see https://kubernetes.io/docs/concepts/services-networking/network-policies/ */
export class NetworkPolicies {
  readonly #byNamespace: ReadonlyMap<string, readonly NetworkPolicy[]>;
  readonly #snapshot: PolicySnapshot;

  constructor(snapshot: PolicySnapshot) {
    this.#snapshot = snapshot;
    this.#byNamespace = Map.groupBy(snapshot.policies, ({ namespace }) => namespace);
  }

  /**
   * Decides about TCP connections from one pod to a port of another.
   *
   * @param port - Of the server's pod.
   */
  decide(client: PolicyPod, server: PolicyPod, port: number): PolicyVerdict {
    const target = { server, port };
    const verdicts = [
      this.#judge({ type: "Egress", subject: client, peer: server }, target),
      this.#judge({ type: "Ingress", subject: server, peer: client }, target),
    ]; // E2
    if (verdicts.includes("denied")) return "denied";
    return verdicts.includes("unknown") ? "unknown" : "allowed";
  }

  #judge(direction: Direction, target: Target): PolicyVerdict {
    const { subject, peer } = direction;
    const policies = this.#governing(direction);
    if (policies.length === 0) return "allowed";
    // What is on the node's network has the node's address, and is known to each network in its own way.
    if (subject.hostNetwork || peer.hostNetwork) return "unknown";
    const matches = policies.flatMap((policy) =>
      (direction.type === "Ingress" ? policy.ingress : policy.egress).map((rule) =>
        this.#matches(policy, rule, { peer, target }),
      ),
    );
    if (matches.includes("yes")) return "allowed";
    return matches.includes("perhaps") ? "unknown" : "denied";
  }

  #governing({ type, subject }: Direction): readonly NetworkPolicy[] {
    const policies = this.#byNamespace.get(subject.namespace) ?? [];
    return policies.filter(
      ({ types, podSelector }) =>
        types.includes(type) && matchesSelector(podSelector, subject.labels),
    );
  }

  #matches(
    policy: NetworkPolicy,
    { peers, ports }: PolicyRule,
    { peer, target }: { peer: PolicyPod; target: Target },
  ): Match {
    if (ports.length > 0 && !ports.some((port) => isPort(port, target))) return "no"; // E3
    if (peers.length === 0) return "yes";
    const matches = peers.map((each) => this.#isPeer(policy, each, peer));
    if (matches.includes("yes")) return "yes";
    return matches.includes("perhaps") ? "perhaps" : "no";
  }

  #isPeer(policy: NetworkPolicy, wanted: PolicyPeer, pod: PolicyPod): Match {
    const { block, podSelector, namespaceSelector } = wanted;
    if (block !== undefined) return this.#isInBlock(block, pod);
    if (podSelector !== undefined && !matchesSelector(podSelector, pod.labels)) return "no";
    if (namespaceSelector === undefined) return pod.namespace === policy.namespace ? "yes" : "no";
    const labels = this.#snapshot.namespaces.get(pod.namespace);
    if (labels === undefined) return "perhaps"; // E1
    return matchesSelector(namespaceSelector, labels) ? "yes" : "no";
  }

  /** A pod with several addresses may be seen with any of them (E1). */
  #isInBlock(block: NonNullable<PolicyPeer["block"]>, { addresses }: PolicyPod): Match {
    const inside = addresses.filter((address) => contains(block, address)).length;
    if (inside === 0) return "no";
    const { areBlocksForPods = true } = this.#snapshot;
    return inside === addresses.length && areBlocksForPods ? "yes" : "perhaps";
  }
}

/** Names are those of the server's ports, in either direction. */
function isPort({ protocol, port, endPort }: PolicyPort, target: Target): boolean {
  if (protocol !== "TCP") return false;
  if (port === undefined) return true;
  if (typeof port === "string") {
    return target.server.namedPorts.some(
      (named) => named.name === port && named.protocol === protocol && named.port === target.port,
    );
  }
  return target.port >= port && target.port <= (endPort ?? port);
}
