import { RESOURCES, type Resource } from "../../common/kubernetes/resources.ts";
import {
  CERTIFICATE_SECRETS,
  CLUSTER_CONFIG_NAME,
  INJECTOR_NAME,
  SYSTEM_NAMESPACE,
} from "../../common/kubernetes/vocabulary.ts";

const kind = (apiVersion: string, name: string, plural: string): Resource => ({
  apiVersion,
  kind: name,
  plural,
  isNamespaced: true,
});

const clusterKind = (apiVersion: string, name: string, plural: string): Resource => ({
  ...kind(apiVersion, name, plural),
  isNamespaced: false,
});

const RBAC = "rbac.authorization.k8s.io/v1";
const ADMISSION = "admissionregistration.k8s.io/v1";

/** The kinds that `shimmy check` looks at and `shimmy uninstall` changes or deletes. */
export const KINDS = {
  ...RESOURCES,
  resourceQuotas: kind("v1", "ResourceQuota", "resourcequotas"),
  serviceAccounts: kind("v1", "ServiceAccount", "serviceaccounts"),
  disruptionBudgets: kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
  roles: kind(RBAC, "Role", "roles"),
  roleBindings: kind(RBAC, "RoleBinding", "rolebindings"),
  podMonitors: kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
  prometheusRules: kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
  certificates: kind("cert-manager.io/v1", "Certificate", "certificates"),
  issuers: kind("cert-manager.io/v1", "Issuer", "issuers"),
  clusterRoles: clusterKind(RBAC, "ClusterRole", "clusterroles"),
  clusterRoleBindings: clusterKind(RBAC, "ClusterRoleBinding", "clusterrolebindings"),
  priorityClasses: clusterKind("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses"),
  definitions: clusterKind(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
  ),
  admissionPolicies: clusterKind(
    ADMISSION,
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
  ),
  admissionBindings: clusterKind(
    ADMISSION,
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
  ),
} as const satisfies Readonly<Record<string, Resource>>;

/** Names that Shimmy's manifests give their objects; docs/reference/rbac.md has them all. */
export const NAMES = {
  namespace: SYSTEM_NAMESPACE,
  agent: "shimmy-agent",
  injector: INJECTOR_NAME,
  master: "shimmy-master",
  config: CLUSTER_CONFIG_NAME,
  ...CERTIFICATE_SECRETS,
  injectedPolicy: "shimmy-injected",
  nodeStatusPolicy: "shimmy-node-status",
} as const;

/** The label that everything in the manifests carries. */
export const PART_OF = "app.kubernetes.io/part-of=shimmy";

/** Selects the pods of one part. */
export function componentSelector(component: "agent" | "injector" | "master"): string {
  return `app.kubernetes.io/name=shimmy,app.kubernetes.io/component=${component}`;
}
