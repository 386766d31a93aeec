/** A kind of policy that Shimmy cannot evaluate. */
export interface ForeignKind {
  readonly group: string;
  readonly plural: string;
}

/** Kinds that say who may connect to whom, of the network and of meshes. */
export const FOREIGN_KINDS: readonly ForeignKind[] = [
  ...kinds("cilium.io", ["ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"]),
  ...kinds("crd.projectcalico.org", ["networkpolicies", "globalnetworkpolicies"]),
  ...kinds("projectcalico.org", ["networkpolicies", "globalnetworkpolicies"]),
  ...kinds("policy.networking.k8s.io", [
    "adminnetworkpolicies",
    "baselineadminnetworkpolicies",
    "clusternetworkpolicies",
  ]),
  ...kinds("crd.antrea.io", ["networkpolicies", "clusternetworkpolicies"]),
  ...kinds("security.istio.io", ["authorizationpolicies", "peerauthentications"]),
  ...kinds("policy.linkerd.io", ["servers", "authorizationpolicies"]),
];

function kinds(group: string, plurals: readonly string[]): ForeignKind[] {
  return plurals.map((plural) => ({ group, plural }));
}
