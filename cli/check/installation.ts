import type { Condition, KubernetesObject } from "../../common/kubernetes/objects.ts";
import { SHIMMY_API_VERSION } from "../../common/kubernetes/resources.ts";
import { KINDS, NAMES } from "../cluster/kinds.ts";
import type { CheckContext, PartObject } from "./context.ts";
import { count, fail, ok, unknown, warn, type Finding } from "./finding.ts";

const INSTALL = "install Shimmy (docs/guides/install.md)";
const REINSTALL = "apply the manifests of this version again (docs/guides/install.md)";

interface DefinitionObject extends KubernetesObject {
  readonly spec?: { readonly versions?: readonly { name: string; served: boolean }[] };
  readonly status?: { readonly conditions?: readonly Condition[] };
}

/** Whether nothing is there that an installation would meet. */
export async function checkAbsent(context: CheckContext): Promise<Finding[]> {
  const { cluster, options } = context;
  const found = await cluster.get(KINDS.mutatingWebhooks, { name: NAMES.injector });
  const agents = await cluster.get(KINDS.daemonSets, {
    namespace: options.namespace,
    name: NAMES.agent,
  });
  if (found === undefined && agents === undefined)
    return [ok("nothing of Shimmy is installed yet")];
  return [
    warn(
      "Shimmy is installed already",
      "upgrade in the order of docs/upgrade.md, or check what is there with `shimmy check`",
    ),
  ];
}

/** Whether pods of agents, which see the node's processes, may run in their namespace. */
export async function checkPodSecurity(context: CheckContext): Promise<Finding[]> {
  const { namespace } = context.options;
  const found = await context.cluster.get(KINDS.namespaces, { name: namespace });
  if (found === undefined) return [ok(`the namespace ${namespace} will be created`)];
  const level = found.metadata.labels?.["pod-security.kubernetes.io/enforce"];
  if (level === undefined || level === "privileged") {
    return [ok(`the namespace ${namespace} lets agents run`)];
  }
  return [
    fail(
      `the namespace ${namespace} enforces the Pod Security Standard ${level}, and agents need hostPID`,
      `kubectl label namespace ${namespace} --overwrite pod-security.kubernetes.io/enforce=privileged`,
    ),
  ];
}

/** Whether the kinds are there, and served. */
export async function checkDefinitions(context: CheckContext): Promise<Finding[]> {
  const [, version = ""] = SHIMMY_API_VERSION.split("/");
  const kinds = [KINDS.sharedMemoryObjects, KINDS.shimmyNodes];
  return Promise.all(
    kinds.map(async ({ plural, kind }) => {
      const name = `${plural}.shimmy.io`;
      const found = await context.cluster.get<DefinitionObject>(KINDS.definitions, { name });
      if (found === undefined) return fail(`the kind ${kind} is not defined`, INSTALL);
      return definitionFinding(kind, version, found);
    }),
  );
}

function definitionFinding(
  kind: string,
  version: string,
  { metadata, spec, status }: DefinitionObject,
): Finding {
  const isServed = spec?.versions?.some(({ name, served }) => name === version && served);
  if (isServed !== true) return fail(`the kind ${kind} is not served as ${version}`, REINSTALL);
  const condition = status?.conditions?.find(({ type }) => type === "Established");
  if (condition?.status === "True") return ok(`the kind ${kind} is established`);
  const why = condition?.message ?? "the API server has not said why";
  const todo = `kubectl describe crd ${metadata.name}`;
  return fail(`the kind ${kind} is not established: ${why}`, todo);
}

/** Whether injector and master run, and one of the masters leads. */
export async function checkParts(context: CheckContext): Promise<Finding[]> {
  const { namespace } = context.options;
  const parts = [
    { name: NAMES.injector, effect: "opted-in pods are not admitted" },
    { name: NAMES.master, effect: "what exists goes on, and nothing new is attached or reported" },
  ];
  const findings = await Promise.all(
    parts.map(async ({ name, effect }) => {
      const target = { namespace, name };
      const found = await context.cluster.get<PartObject>(KINDS.deployments, target);
      return partFinding(target, found, effect);
    }),
  );
  return [...findings, await leaderFinding(context)];
}

function partFinding(
  { namespace, name }: { namespace: string; name: string },
  found: PartObject | undefined,
  effect: string,
): Finding {
  if (found === undefined) return fail(`the Deployment ${namespace}/${name} is not there`, INSTALL);
  const wanted = found.spec?.replicas ?? 1;
  const ready = found.status?.readyReplicas ?? 0;
  const todo = `kubectl -n ${namespace} describe deployment ${name}; kubectl -n ${namespace} logs deployment/${name}`;
  if (ready === 0) return fail(`no pod of ${name} is ready: ${effect}`, todo);
  if (ready < wanted) return warn(`${ready} of ${count(wanted, "pod")} of ${name} are ready`, todo);
  return ok(`${name}: ${count(ready, "pod")} ready`);
}

interface LeaseObject extends KubernetesObject {
  readonly spec?: { readonly holderIdentity?: string; readonly renewTime?: string };
}

/** A leader renews every 2 s and stops after 10; clocks may differ. */
const STALE_LEASE_MS = 120_000;

async function leaderFinding({ cluster, options }: CheckContext): Promise<Finding> {
  const { namespace, now } = options;
  const lease = await cluster.get<LeaseObject>(KINDS.leases, { namespace, name: NAMES.master });
  const { holderIdentity = "", renewTime = "" } = lease?.spec ?? {};
  const todo = `kubectl -n ${namespace} logs deployment/${NAMES.master}`;
  if (holderIdentity === "") return fail("no master leads", todo);
  const silentMs = now() - Date.parse(renewTime);
  if (silentMs > STALE_LEASE_MS) {
    const seconds = Math.round(silentMs / 1000);
    return fail(`the master ${holderIdentity} renewed its Lease ${seconds} s ago`, todo);
  }
  return ok(`the master ${holderIdentity} leads`);
}

/** Whether the API server holds injection against what pods really carry. */
export async function checkPolicies(context: CheckContext): Promise<Finding[]> {
  const { parsed } = await context.version();
  if (parsed !== undefined && parsed.major === 1 && parsed.minor < 30) {
    return [
      unknown(
        "before Kubernetes 1.30 no admission policy proves that opted-in pods carry their sidecar",
        "look at `shimmy check` after rollouts: it lists pods without a sidecar",
      ),
    ];
  }
  return Promise.all(
    [NAMES.injectedPolicy, NAMES.nodeStatusPolicy].map(async (name) => {
      const policy = await context.cluster.get(KINDS.admissionPolicies, { name });
      const binding = await context.cluster.get(KINDS.admissionBindings, { name });
      if (policy !== undefined && binding !== undefined)
        return ok(`the policy ${name} is in force`);
      const missing = policy === undefined ? "is not there" : "is bound to nothing";
      return fail(`the ValidatingAdmissionPolicy ${name} ${missing}`, REINSTALL);
    }),
  );
}
