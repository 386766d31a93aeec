import { setTimeout as delay } from "node:timers/promises";

import { ShimmyError } from "../../common/errors.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import type { Resource } from "../../common/kubernetes/resources.ts";
import { someOf } from "../check/finding.ts";
import { hasSidecar } from "../check/versions.ts";
import type { PodObject } from "../check/context.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { KINDS, PART_OF } from "../cluster/kinds.ts";
import { OPT_OUT_KINDS, planOptOut } from "./opt-out.ts";
import {
  DEFINITION_STEP,
  DELETE_STEPS,
  findDoomed,
  type DeleteStep,
  type Doomed,
} from "./parts.ts";
import { judgeRollouts, nameOf, type RollingObject, type RolloutState } from "./rollouts.ts";

/** Options for {@link Uninstaller}. */
export interface UninstallOptions {
  readonly cluster: Cluster;
  /** Where Shimmy is installed. */
  readonly namespace: string;
  readonly dryRun: boolean;
  /** Whether the kinds and all objects of them are deleted too. */
  readonly definitions: boolean;
  /** Whether to stop when no pod has a sidecar any more. */
  readonly workloadsOnly: boolean;
  /** Whether parts are deleted while pods still have a sidecar. */
  readonly force: boolean;
  readonly timeoutMs: number;
  /** Between two looks. @defaultValue 2 s */
  readonly pollMs?: number;
  readonly say: (line: string) => void;
}

const POLL_MS = 2000;
const RESTARTED_KEY = "kubectl.kubernetes.io/restartedAt";

/**
 * Takes Shimmy out of a cluster.
 *
 * Each step looks at what there is and does what is left, so it can be stopped and started again at
 * any point, and a second run finds nothing to do.
 */
export class Uninstaller {
  readonly #options: UninstallOptions;
  readonly #deadline: number;
  /** How often keys were removed from an object in this run. */
  readonly #optOuts = new Map<string, number>();

  constructor(options: UninstallOptions) {
    this.#options = options;
    this.#deadline = performance.now() + options.timeoutMs;
  }

  /**
   * Does all of it.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when pods still have a sidecar, or parts are
   * still there, at the end of the time.
   * @throws {@link ApiError} when the API server does not answer, or refuses.
   */
  async run(): Promise<void> {
    const { workloadsOnly, definitions, dryRun, say } = this.#options;
    await this.#optOut();
    await this.#awaitRollouts();
    if (!workloadsOnly) {
      for (const step of DELETE_STEPS) await this.#delete(step);
      await this.#deleteNamespace();
      if (definitions) await this.#delete(DEFINITION_STEP);
    }
    say(await this.#summary());
    if (dryRun) say("Nothing was changed: this was a dry run.");
  }

  async #optOut(): Promise<void> {
    for (const resource of OPT_OUT_KINDS) {
      for (const object of await this.#options.cluster.list(resource)) {
        await this.#optOutOne(resource, object);
      }
    }
  }

  async #optOutOne(resource: Resource, object: KubernetesObject): Promise<void> {
    const { cluster, dryRun, say } = this.#options;
    const plan = planOptOut(object);
    if (plan === undefined || object.metadata.deletionTimestamp !== undefined) return;
    const name = nameOf(object);
    const times = this.#optOuts.get(name) ?? 0;
    if (times > 1) {
      throw new ShimmyError(
        "SHIMMY_ERR_KUBERNETES_API",
        `${name} has its keys again: remove ${plan.removed.join(", ")} where it is kept (GitOps, an operator), and run this again`,
      );
    }
    this.#optOuts.set(name, times + 1);
    say(`${name}: ${dryRun ? "would remove" : "removing"} ${plan.removed.join(", ")}`);
    if (!dryRun) await cluster.patch(resource, object.metadata, plan.patch);
  }

  async #awaitRollouts(): Promise<void> {
    const { say, dryRun, pollMs = POLL_MS } = this.#options;
    let said = "";
    for (;;) {
      const state = await this.#rollouts();
      if (dryRun) this.#sayRollouts(state);
      if (dryRun || this.#isSettled(state)) return;
      for (const workload of state.restart) await this.#restart(workload);
      const line = `waiting for new pods of ${someOf(movingOf(state), 10)}`;
      if (line !== said) say(line);
      said = line;
      await delay(pollMs);
      // Something may have been annotated since, or put its keys back.
      await this.#optOut();
    }
  }

  /**
   * Whether no pod has a sidecar, or waiting brings nothing and does not matter.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when it brings nothing and matters.
   */
  #isSettled(state: RolloutState): boolean {
    const { say, force } = this.#options;
    const moving = movingOf(state);
    const left = [...moving, ...state.stuck];
    if (left.length === 0) return true;
    if (moving.length > 0 && performance.now() <= this.#deadline) return false;
    if (!force) throw remaining(state);
    say(`going on although pods still have a sidecar: ${someOf(left, 10)}`);
    return true;
  }

  async #rollouts(): Promise<RolloutState> {
    const { cluster, namespace } = this.#options;
    const pods = (await cluster.list<PodObject>(KINDS.pods)).filter(
      (pod) => hasSidecar(pod) && pod.metadata.namespace !== namespace && !hasEnded(pod),
    );
    if (pods.length === 0) return { waiting: [], restart: [], stuck: [] };
    const kinds = [KINDS.deployments, KINDS.statefulSets, KINDS.daemonSets];
    const lists = await Promise.all(kinds.map((kind) => cluster.list<RollingObject>(kind)));
    return judgeRollouts(lists.flat(), pods);
  }

  #sayRollouts(state: RolloutState): void {
    const { say } = this.#options;
    const moving = movingOf(state);
    if (moving.length > 0) say(`would wait for new pods of ${moving.join(", ")}`);
    for (const line of state.stuck) say(`would stop, without --force, at ${line}`);
  }

  /** Its template has no key of ours: the opt-in was the namespace's. */
  async #restart(workload: RollingObject): Promise<void> {
    const { cluster, say } = this.#options;
    const { kind, metadata } = workload;
    const resource = OPT_OUT_KINDS.find((each) => each.kind === kind);
    if (resource === undefined) return;
    say(`${nameOf(workload)}: restarting`);
    const annotations = { [RESTARTED_KEY]: new Date().toISOString() };
    await cluster.patch(resource, metadata, { spec: { template: { metadata: { annotations } } } });
  }

  async #delete(step: DeleteStep): Promise<void> {
    const { cluster, namespace, pollMs = POLL_MS } = this.#options;
    for (const doomed of await findDoomed(cluster, step, namespace)) await this.#deleteOne(doomed);
    if (step.thenPods !== true || this.#options.dryRun) return;
    for (;;) {
      const pods = await cluster.list(KINDS.pods, { namespace, labelSelector: PART_OF });
      if (pods.length === 0) return;
      if (performance.now() > this.#deadline) {
        const names = someOf(pods.map(nameOf));
        throw new ShimmyError(
          "SHIMMY_ERR_TIMEOUT",
          `${names} did not end in time: run this again, it goes on from here`,
        );
      }
      await delay(pollMs);
    }
  }

  async #deleteOne({ resource, object }: Doomed): Promise<void> {
    const { cluster, dryRun, say } = this.#options;
    const { metadata } = object;
    if (metadata.deletionTimestamp !== undefined) return;
    say(`${dryRun ? "would delete" : "deleting"} ${nameOf({ kind: resource.kind, metadata })}`);
    if (dryRun) return;
    await cluster.delete(resource, metadata);
  }

  /** Only the one that our manifests made, and only when it is empty. */
  async #deleteNamespace(): Promise<void> {
    const { cluster, namespace, say } = this.#options;
    const object = await cluster.get(KINDS.namespaces, { name: namespace });
    if (object?.metadata.labels?.["app.kubernetes.io/part-of"] !== "shimmy") return;
    const pods = await cluster.list<PodObject>(KINDS.pods, { namespace });
    const others = pods.filter(
      ({ metadata }) => metadata.labels?.["app.kubernetes.io/part-of"] !== "shimmy",
    );
    if (others.length === 0) {
      await this.#deleteOne({ resource: KINDS.namespaces, object });
      return;
    }
    say(`namespace ${namespace}: kept, because of ${someOf(others.map(nameOf))}`);
  }

  async #summary(): Promise<string> {
    const { cluster, workloadsOnly, definitions, dryRun } = this.#options;
    const done = dryRun ? "would be" : "is";
    if (workloadsOnly) return `No workload ${dryRun ? "would opt" : "opts"} in any more.`;
    if (definitions) return `Shimmy ${done} uninstalled, its kinds and their objects too.`;
    const objects = await cluster.list(KINDS.sharedMemoryObjects);
    return `Shimmy ${done} uninstalled. Kept: the definitions of its kinds and ${objects.length} SharedMemoryObjects (--crds deletes them).`;
  }
}

function hasEnded({ status }: PodObject): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

function movingOf({ waiting, restart }: RolloutState): readonly string[] {
  return [...waiting, ...restart.map(nameOf)];
}

function remaining(state: RolloutState): ShimmyError {
  const moving = movingOf(state);
  const { stuck } = state;
  const parts = [
    ...(moving.length === 0 ? [] : [`not done in time: ${someOf(moving, 10)}`]),
    ...(stuck.length === 0 ? [] : [someOf(stuck, 10)]),
  ];
  return new ShimmyError(
    "SHIMMY_ERR_TIMEOUT",
    `pods still have a sidecar, so nothing was deleted (${parts.join("; ")}); run this again, or with --force: without Shimmy those pods call their upstreams over TCP`,
  );
}
