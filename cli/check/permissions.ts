import type { Resource } from "../../common/kubernetes/resources.ts";
import { KINDS } from "../cluster/kinds.ts";
import type { CheckContext } from "./context.ts";
import { fail, ok, someOf, warn, type Finding } from "./finding.ts";

/** Kinds that an installation creates; a test compares them with the manifests. */
export const INSTALLED_KINDS: readonly Resource[] = [
  KINDS.namespaces,
  KINDS.definitions,
  KINDS.serviceAccounts,
  KINDS.clusterRoles,
  KINDS.clusterRoleBindings,
  KINDS.roles,
  KINDS.roleBindings,
  KINDS.configMaps,
  KINDS.resourceQuotas,
  KINDS.leases,
  KINDS.services,
  KINDS.deployments,
  KINDS.daemonSets,
  KINDS.disruptionBudgets,
  KINDS.priorityClasses,
  KINDS.mutatingWebhooks,
  KINDS.admissionPolicies,
  KINDS.admissionBindings,
];

/** What `kubectl apply` does. */
const VERBS = ["get", "create", "patch"] as const;

interface Attributes {
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
  readonly namespace?: string;
}

/** Whether the user may do all that an installation does. */
export async function checkPermissions(context: CheckContext): Promise<Finding[]> {
  if (await isAllowed(context, { group: "*", resource: "*", verb: "*" })) {
    return [ok("you may install: you may do everything")];
  }
  const questions = INSTALLED_KINDS.flatMap((resource) =>
    VERBS.map((verb) => attributesOf(resource, verb, context.options.namespace)),
  );
  const answers = await Promise.all(
    questions.map(async (question) => ({ question, allowed: await isAllowed(context, question) })),
  );
  const missing = answers
    .filter(({ allowed }) => !allowed)
    .map(({ question: { verb, resource } }) => `${verb} ${resource}`);
  const mayEscalate = await isAllowed(context, {
    ...attributesOf(KINDS.clusterRoles, "escalate", undefined),
  });
  return [
    missing.length === 0
      ? ok("you may create everything that an installation consists of")
      : fail(
          `you may not ${someOf(missing)}`,
          "let somebody with these permissions install, or have them granted to you",
        ),
    ...(mayEscalate
      ? []
      : [
          warn(
            "you may create only roles whose permissions you have yourself",
            "if the API server refuses a role at installation, compare it with docs/reference/rbac.md",
          ),
        ]),
  ];
}

function attributesOf(resource: Resource, verb: string, namespace: string | undefined): Attributes {
  const [group = ""] = resource.apiVersion.includes("/") ? resource.apiVersion.split("/") : [""];
  const scope = resource.isNamespaced && namespace !== undefined ? { namespace } : {};
  return { group, resource: resource.plural, verb, ...scope };
}

async function isAllowed({ cluster }: CheckContext, attributes: Attributes): Promise<boolean> {
  const answer = (await cluster.request({
    method: "POST",
    path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    body: {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: { resourceAttributes: attributes },
    },
  })) as { status?: { allowed?: boolean } };
  return answer.status?.allowed === true;
}
