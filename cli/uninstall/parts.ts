import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import type { Resource } from "../../common/kubernetes/resources.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { KINDS, NAMES, PART_OF } from "../cluster/kinds.ts";

/** Objects that are deleted together; later steps wait for those of earlier ones. */
export interface DeleteStep {
  readonly kinds: readonly DeleteKind[];
  /** Whether the pods of the parts have to be gone before the next step. */
  readonly thenPods?: true;
}

interface DeleteKind {
  readonly resource: Resource;
  /** Names of objects that are made at run time, and have no label for sure. */
  readonly names?: readonly string[];
  /** All of them, whoever made them. */
  readonly all?: true;
}

/**
 * What is deleted, in this order: the API server stops calling webhooks before they go, and parts
 * end before what they would write again.
 */
export const DELETE_STEPS: readonly DeleteStep[] = [
  { kinds: [{ resource: KINDS.mutatingWebhooks, names: [NAMES.injector] }] },
  { kinds: [{ resource: KINDS.admissionBindings }, { resource: KINDS.admissionPolicies }] },
  { kinds: [{ resource: KINDS.deployments }, { resource: KINDS.daemonSets }], thenPods: true },
  {
    kinds: [
      { resource: KINDS.shimmyNodes, all: true },
      { resource: KINDS.leases, names: [NAMES.master] },
      // Before the Secrets, which cert-manager would make again.
      { resource: KINDS.certificates },
      { resource: KINDS.issuers },
      {
        resource: KINDS.secrets,
        names: [NAMES.injectorTls, NAMES.webhookCa, NAMES.fabricCa],
      },
      { resource: KINDS.configMaps },
      { resource: KINDS.services },
      { resource: KINDS.disruptionBudgets },
      { resource: KINDS.resourceQuotas },
      { resource: KINDS.networkPolicies },
      { resource: KINDS.podMonitors },
      { resource: KINDS.prometheusRules },
      { resource: KINDS.roleBindings },
      { resource: KINDS.roles },
      { resource: KINDS.serviceAccounts },
      { resource: KINDS.clusterRoleBindings },
      { resource: KINDS.clusterRoles },
      { resource: KINDS.priorityClasses },
    ],
  },
];

/** The kinds themselves; what people wrote of them goes with them. */
export const DEFINITION_STEP: DeleteStep = {
  kinds: [
    {
      resource: KINDS.definitions,
      names: [KINDS.sharedMemoryObjects, KINDS.shimmyNodes].map(
        ({ plural }) => `${plural}.shimmy.io`,
      ),
    },
  ],
};

/** One object that is to be deleted. */
export interface Doomed {
  readonly resource: Resource;
  readonly object: KubernetesObject;
}

/** Finds what a step deletes. */
export async function findDoomed(
  cluster: Cluster,
  { kinds }: DeleteStep,
  namespace: string,
): Promise<readonly Doomed[]> {
  const found = await Promise.all(
    kinds.map(async ({ resource, names = [], all }) => {
      const scope = resource.isNamespaced ? { namespace } : {};
      const isByName = resource.kind === KINDS.definitions.kind;
      const listed = isByName
        ? []
        : await cluster.list(resource, {
            ...scope,
            ...(all === true ? {} : { labelSelector: PART_OF }),
          });
      const named = await Promise.all(
        names.map((name) => cluster.get(resource, { ...scope, name })),
      );
      const objects = [...listed, ...named.filter((object) => object !== undefined)];
      const unique = new Map(objects.map((object) => [object.metadata.name, object]));
      return [...unique.values()].map((object) => ({ resource, object }));
    }),
  );
  return found.flat();
}
