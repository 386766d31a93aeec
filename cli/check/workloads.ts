import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { SIDECAR_NAME } from "../../injector/containers.ts";
import { WRITTEN } from "../../injector/vocabulary.ts";
import {
  CARRIED_RESOURCES,
  findUncarried,
  takeUncarried,
  type UncarriedWorkload,
} from "../../master/uncarried.ts";
import { findUninjected } from "../../master/uninjected.ts";
import { takeNamespace, takePod, type MasterPod } from "../../master/world.ts";
import { KINDS } from "../cluster/kinds.ts";
import type { CheckContext, PodObject } from "./context.ts";
import { count, fail, ok, someOf, warn, type Finding } from "./finding.ts";
import { hasSidecar, isRunning } from "./versions.ts";

/** Pods that opted in and have no sidecar, by the master's own judgement. */
export async function checkUninjected(context: CheckContext): Promise<Finding[]> {
  const pods = await masterPods(context);
  const namespaces = await context.list(KINDS.namespaces);
  const found = findUninjected({
    pods,
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

/** Workloads whose opt-in did not reach their template or their pods, by the master's own judgement. */
export async function checkUncarried(context: CheckContext): Promise<Finding[]> {
  const workloads: UncarriedWorkload[] = [];
  for (const resource of CARRIED_RESOURCES) {
    const objects = await context.cluster.list(resource);
    workloads.push(...objects.flatMap((object) => takeUncarried(resource, object) ?? []));
  }
  const uncarried = findUncarried(workloads, await masterPods(context));
  const named = (isWaiting: boolean): string[] =>
    uncarried
      .filter(({ cause }) => (cause !== "template") === isWaiting)
      .map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`);
  const found = named(false);
  const waiting = named(true);
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
            `the opt-in waits until ${someOf(waiting)} make new pods: they are paused, of strategy OnDelete, or keep pods below a partition`,
            "kubectl rollout resume them, delete their pods, or set the partition to 0",
          ),
        ]),
  ];
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

async function masterPods(context: CheckContext): Promise<ReadonlyMap<string, MasterPod>> {
  const pods = (await context.pods()).map(takePod);
  return new Map(pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod]));
}

function nameOf({
  kind,
  metadata: { namespace = "", name },
}: KubernetesObject | PodObject): string {
  const object = `${namespace}/${name}`;
  return kind === undefined || kind === "Pod" ? object : `${kind} ${object}`;
}
