import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { SIDECAR_NAME } from "../../injector/containers.ts";
import { VOCABULARY, WRITTEN } from "../../injector/vocabulary.ts";
import { CARRIED_RESOURCES, takeUncarried } from "../../master/uncarried.ts";
import { findUninjected } from "../../master/uninjected.ts";
import { takeNamespace, takePod } from "../../master/world.ts";
import { KINDS } from "../cluster/kinds.ts";
import type { CheckContext, PodObject } from "./context.ts";
import { count, fail, ok, someOf, warn, type Finding } from "./finding.ts";
import { hasSidecar, isRunning } from "./versions.ts";

/** Pods that opted in and have no sidecar, by the master's own judgement. */
export async function checkUninjected(context: CheckContext): Promise<Finding[]> {
  const pods = (await context.pods()).map(takePod);
  const namespaces = await context.list(KINDS.namespaces);
  const found = findUninjected({
    pods: new Map(pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod])),
    namespaces: new Map(namespaces.map((each) => [each.metadata.name, takeNamespace(each)])),
    excluded: await context.excludedNamespaces(),
  });
  if (found.length === 0) return [ok("every pod that opted in has its sidecar")];
  const names = found.map(({ pod }) => `${pod.namespace}/${pod.name}`);
  return [
    fail(
      `${count(found.length, "pod")} opted in and ${found.length === 1 ? "has" : "have"} no sidecar: ${someOf(names)}`,
      "make them again: kubectl rollout restart their workloads; they are from before the opt-in or the injector, or another webhook removed the sidecar",
    ),
  ];
}

/** Workloads whose opt-in did not reach their template, by the master's own judgement. */
export async function checkUncarried(context: CheckContext): Promise<Finding[]> {
  const found: string[] = [];
  const waiting: string[] = [];
  for (const resource of CARRIED_RESOURCES) {
    for (const object of await context.cluster.list(resource)) {
      const workload = takeUncarried(resource, object);
      if (workload !== undefined) found.push(nameOf(object));
      else if (isHeldBack(object)) waiting.push(nameOf(object));
    }
  }
  return [
    found.length === 0
      ? ok("every workload that was annotated carries it to its template")
      : warn(
          `${count(found.length, "workload")} ${found.length === 1 ? "is" : "are"} annotated and the template is not: ${someOf(found)}`,
          "change them while the injector runs, in whatever way: kubectl annotate KIND NAME example.com/touched=1",
        ),
    ...(waiting.length === 0
      ? []
      : [
          warn(
            `the opt-in waits until ${someOf(waiting)} make new pods: they are paused, or of strategy OnDelete`,
            "kubectl rollout resume them, or delete their pods",
          ),
        ]),
  ];
}

interface RawWorkload extends KubernetesObject {
  readonly spec?: {
    readonly paused?: boolean;
    readonly replicas?: number;
    readonly updateStrategy?: { readonly type?: string };
  };
  readonly status?: {
    readonly updatedReplicas?: number;
    readonly updatedNumberScheduled?: number;
    readonly desiredNumberScheduled?: number;
  };
}

/** Carried, and not rolled out by anybody. */
function isHeldBack({ metadata, spec = {}, status = {} }: RawWorkload): boolean {
  if (metadata.annotations?.[VOCABULARY.inject.key] !== "enabled") return false;
  if (spec.paused !== true && spec.updateStrategy?.type !== "OnDelete") return false;
  return isBehind(spec, status);
}

function isBehind(
  { replicas = 1 }: NonNullable<RawWorkload["spec"]>,
  status: NonNullable<RawWorkload["status"]>,
): boolean {
  const wanted = status.desiredNumberScheduled ?? replicas;
  return (status.updatedNumberScheduled ?? status.updatedReplicas ?? 0) < wanted;
}

/** Pods without a memory limit: nobody but the sidecar keeps their ring budget. */
export async function checkBudgets(context: CheckContext): Promise<Finding[]> {
  const pods = (await context.pods()).filter((pod) => hasSidecar(pod) && isRunning(pod));
  if (pods.length === 0) return [ok("no pod has a sidecar yet")];
  const unbounded = pods.filter(({ status }) => status?.qosClass === "BestEffort");
  if (unbounded.length === 0) return [ok("the kernel bounds the memory of every sidecar")];
  return [
    warn(
      `${count(unbounded.length, "pod")} of class BestEffort: the ring budget is kept by the sidecar alone: ${someOf(unbounded.map(nameOf))}`,
      `give their containers requests or limits, and ${SIDECAR_NAME} gets its own`,
    ),
  ];
}

/** Pods that were left alone although their namespace opted in. */
export async function checkSkipped(context: CheckContext): Promise<Finding[]> {
  const { key } = WRITTEN.skipped;
  const pods = (await context.pods()).filter(isRunning);
  const byReason = Map.groupBy(pods, ({ metadata }) => metadata.annotations?.[key]);
  byReason.delete(undefined);
  if (byReason.size === 0) return [ok("no pod was left out for a reason")];
  return [...byReason].map(([reason = "", group]) =>
    warn(
      `${count(group.length, "pod")} left out, ${reason}: ${someOf(group.map(nameOf))}`,
      `docs/reference/reasons.md says what to do about ${reason}`,
    ),
  );
}

function nameOf({
  kind,
  metadata: { namespace = "", name },
}: KubernetesObject | PodObject): string {
  const object = `${namespace}/${name}`;
  return kind === undefined || kind === "Pod" ? object : `${kind} ${object}`;
}
