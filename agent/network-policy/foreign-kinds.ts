/**
 * Kinds that say who may connect to whom and that Shimmy cannot evaluate. Where one of them may be
 * about a pod, the network decides: `policy_unknown`.
 *
 * Kinds about connections that leave the cluster are not here, nor what other kinds refer to.
 */

/** A kind of policy that cannot be evaluated. */
export interface ForeignKind {
  readonly group: string;
  /** Its name in paths. */
  readonly plural: string;
  /**
   * Whether an object of it is about pods of its own namespace only. One of a kind without namespaces
   * never is.
   */
  readonly isOfNamespace: boolean;
}

const OWN = true;
const ALL = false;

/** By group, each from the documentation of its project. */
export const FOREIGN_KINDS: readonly ForeignKind[] = [
  ...kinds("cilium.io", { ciliumnetworkpolicies: OWN, ciliumclusterwidenetworkpolicies: ALL }),
  ...kinds("crd.projectcalico.org", { networkpolicies: OWN, globalnetworkpolicies: ALL }),
  ...kinds("projectcalico.org", { networkpolicies: OWN, globalnetworkpolicies: ALL }),
  ...kinds("policy.networking.k8s.io", {
    adminnetworkpolicies: ALL,
    baselineadminnetworkpolicies: ALL,
    clusternetworkpolicies: ALL,
  }),
  ...kinds("crd.antrea.io", { networkpolicies: OWN, clusternetworkpolicies: ALL }),
  ...kinds("k8s.ovn.org", { userdefinednetworks: OWN, clusteruserdefinednetworks: ALL }),
  ...kinds("networking.gke.io", { fqdnnetworkpolicies: OWN }),
  ...kinds("vpcresources.k8s.aws", { securitygrouppolicies: OWN }),
  ...kinds("networking.k8s.aws", { applicationnetworkpolicies: OWN, clusternetworkpolicies: ALL }),
  ...kinds("crd.nsx.vmware.com", { securitypolicies: OWN }),
  ...kinds("neuvector.com", { nvsecurityrules: OWN, nvclustersecurityrules: ALL }),
  // One in the mesh's root namespace is about every namespace.
  ...kinds("security.istio.io", { authorizationpolicies: ALL, peerauthentications: ALL }),
  ...kinds("policy.linkerd.io", { servers: OWN, authorizationpolicies: OWN }),
  // These name services of any namespace.
  ...kinds("consul.hashicorp.com", { serviceintentions: ALL }),
  ...kinds("kuma.io", { meshtrafficpermissions: ALL, trafficpermissions: ALL }),
];

/** Group of the network whose ipBlocks are not about pods. */
export const CILIUM_GROUP = "cilium.io";

function kinds(group: string, plurals: Readonly<Record<string, boolean>>): ForeignKind[] {
  return Object.entries(plurals).map(([plural, isOfNamespace]) => ({
    group,
    plural,
    isOfNamespace,
  }));
}
