import type { Connection, ConnectionRules, PolicyReason } from "../catalog-rules.ts";
import type { CatalogPod } from "../catalog.ts";
import type { ConnectionGrants } from "./connection-grants.ts";
import type { LocalPod } from "./local-pod.ts";
import type { PolicyPod } from "../network-policy/engine.ts";
import type { NetworkJudge } from "./network-policies.ts";

/** What {@link KubernetesRules} are made of; nothing of it changes. */
export interface RuleSources {
  /** Pods of this node, by UID. */
  readonly pods: ReadonlyMap<string, LocalPod>;
  readonly grants: Pick<ConnectionGrants, "allow">;
  readonly judgeNetwork: NetworkJudge;
  /** Whether a kind of policy that cannot be evaluated may be about one of these pods. */
  readonly isForeign: (pods: readonly PolicyPod[]) => boolean;
  /** Whether the cluster's settings turn shared memory off. */
  readonly isClusterOff: boolean;
  /** Namespaces that turn it off. */
  readonly namespacesOff: ReadonlySet<string>;
  readonly isStale: boolean;
}

/** What a pod of this node is to the engine of network policies. */
export function policyPodOf(pod: LocalPod): PolicyPod {
  const { namespace, name, labels, addresses, node, namedPorts, hostNetwork } = pod;
  return { namespace, name, labels, addresses, node, namedPorts, hostNetwork };
}

/**
 * Who may call whom in a cluster.
 *
 *   I1  never more permissive than the network: what is not known to be allowed is not allowed
 */
export class KubernetesRules implements ConnectionRules {
  readonly #sources: RuleSources;
  /** Answers given: the same are asked for every client, and again at every change. */
  readonly #answers = new Map<string, PolicyReason | undefined>();

  constructor(sources: RuleSources) {
    this.#sources = sources;
  }

  get isStale(): boolean {
    return this.#sources.isStale;
  }

  isOff({ uid, namespace }: CatalogPod): boolean {
    const { isClusterOff, namespacesOff, pods } = this.#sources;
    return isClusterOff || namespacesOff.has(namespace) || pods.get(uid)?.isOff === true;
  }

  check({ client, server, backing }: Connection): PolicyReason | undefined {
    const key = `${client.uid} ${server.uid} ${backing.service} ${backing.port}`;
    if (this.#answers.has(key)) return this.#answers.get(key);
    const from = this.#sources.pods.get(client.uid);
    const to = this.#sources.pods.get(server.uid);
    // Of pods that are not known labels are not either (I1).
    const answer =
      from === undefined || to === undefined ? "policy_unknown" : this.#judge(from, to, backing);
    this.#answers.set(key, answer);
    return answer;
  }

  #judge(from: LocalPod, to: LocalPod, backing: Connection["backing"]): PolicyReason | undefined {
    const { grants, judgeNetwork, isForeign } = this.#sources;
    // A Service of another namespace than its pod is a claim of who wrote the slice.
    if (!backing.service.startsWith(`${to.namespace}/`)) return "policy_denied";
    if (from.namespace !== to.namespace && !grants.allow(from, backing)) return "policy_denied";
    const [client, server] = [policyPodOf(from), policyPodOf(to)];
    const verdict = judgeNetwork(client, server, backing.port);
    if (verdict === "denied") return "policy_denied";
    return verdict === "unknown" || isForeign([client, server]) ? "policy_unknown" : undefined;
  }
}
