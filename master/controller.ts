// Keeps ShimmyNodes and statuses as the plan has them. Level-based: every change of the world makes
// a new plan, whatever the change was; what differs from the plan is queued; what is queued is
// compared with the newest plan again before it is written. Only the leader writes.
import type { Clock } from "../common/clock.ts";
import { messageOf } from "../common/errors.ts";
import type { KubernetesApi } from "../common/kubernetes/api-client.ts";
import { ApiError } from "../common/kubernetes/api-error.ts";
import { ListWatch, type ListWatchLimits } from "../common/kubernetes/list-watch.ts";
import type { KubernetesObject } from "../common/kubernetes/objects.ts";
import { RESOURCES, type Resource } from "../common/kubernetes/resources.ts";
import type { Logger } from "../common/log.ts";
import { INJECTION_REASONS } from "../common/reasons.ts";
import type { EventRecorder, ObjectEvent } from "./events.ts";
import type { Evictor } from "./evictor.ts";
import { watchCounter, type MasterMetrics } from "./metrics.ts";
import { makePlan, type Plan } from "./plan.ts";
import {
  CARRIED_RESOURCES,
  findUncarried,
  takeUncarried,
  type UncarriedCause,
  type UncarriedWorkload,
} from "./uncarried.ts";
import {
  findSkipped,
  findUninjected,
  OPT_IN_LEVELS,
  type InjectionView,
  type SkippedPod,
  type UninjectedPod,
} from "./uninjected.ts";
import { WorkQueue } from "./work-queue.ts";
import {
  takeNamespace,
  takeNode,
  takeObject,
  takePod,
  takeShimmyNode,
  type World,
} from "./world.ts";
import { isNodeRight, isStatusRight, writeNode, writeStatus } from "./writer.ts";

/** Options for {@link Controller}. */
export interface ControllerOptions {
  readonly api: KubernetesApi;
  readonly events: EventRecorder;
  /** Where pods without a sidecar are to be evicted. */
  readonly evictor: Evictor | undefined;
  readonly metrics: MasterMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Asked before every write. */
  readonly isLeading: () => boolean;
  /** Namespaces in which nothing is injected. */
  readonly excludedNamespaces: ReadonlySet<string>;
  /** Time in which changes are gathered into one plan. @defaultValue 200 ms */
  readonly gatherMs?: number;
  readonly limits?: Partial<ListWatchLimits>;
}

const GATHER_MS = 200;
/** What could not be told at first, as too many events, is tried again then. */
const REFRESH_MS = 60_000;
const NODE = "node ";
const OBJECT = "object ";

/** Looks at the cluster and, where this process leads, writes what follows from it. */
export class Controller {
  readonly #options: ControllerOptions;
  readonly #pods;
  readonly #namespaces;
  readonly #nodes;
  readonly #objects;
  readonly #shimmyNodes;
  /** Only those that were not carried, or are held back. */
  readonly #workloads: readonly ListWatch<UncarriedWorkload>[];
  readonly #queue: WorkQueue;
  /** Objects about which an event was written, and why. */
  #reported = new Set<string>();
  #plan: Plan = { nodes: new Map(), statuses: new Map(), attachments: 0 };
  #cancelGathering: (() => void) | undefined;
  #cancelRefreshing: (() => void) | undefined;
  #isClosed = false;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#pods = this.#follow(RESOURCES.pods, takePod);
    this.#namespaces = this.#follow(RESOURCES.namespaces, takeNamespace);
    this.#nodes = this.#follow(RESOURCES.nodes, takeNode);
    this.#objects = this.#follow(RESOURCES.sharedMemoryObjects, takeObject);
    this.#shimmyNodes = this.#follow(RESOURCES.shimmyNodes, takeShimmyNode);
    this.#workloads = CARRIED_RESOURCES.map((resource) =>
      this.#follow(resource, (object) => takeUncarried(resource, object)),
    );
    this.#queue = new WorkQueue({
      work: (key) => this.#work(key),
      onFailure: (key, err) => this.#noteFailure(key, err),
      clock: options.clock,
    });
  }

  /** Whether all kinds are known. */
  get isSynced(): boolean {
    return this.#watches().every(({ isSynced }) => isSynced);
  }

  /** Longest time since the API server was heard about one of the kinds, in milliseconds. */
  get silentMs(): number {
    return Math.max(...this.#watches().map(({ silentMs }) => silentMs));
  }

  /** SharedMemoryObjects known. */
  get objectCount(): number {
    return this.#objects.items.size;
  }

  /** What is wanted, as of the last look. */
  get plan(): Plan {
    return this.#plan;
  }

  /** Objects that wait to be written. */
  get queueLength(): number {
    return this.#queue.length;
  }

  /** Begins to look. */
  start(): void {
    for (const watch of this.#watches()) watch.start();
    this.#cancelRefreshing = this.#options.clock.every(REFRESH_MS, () => {
      this.refresh();
    });
  }

  /** Looks anew, as when this process begins to lead. */
  refresh(): void {
    if (this.#isClosed) return;
    const { clock, gatherMs = GATHER_MS } = this.#options;
    this.#cancelGathering ??= clock.after(gatherMs, () => {
      this.#cancelGathering = undefined;
      this.#decide();
    });
  }

  /** Ends; what is being written is finished. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelGathering?.();
    this.#cancelRefreshing?.();
    await this.#options.evictor?.close();
    await Promise.all([this.#queue.close(), ...this.#watches().map((watch) => watch.close())]);
  }

  #watches(): readonly ListWatch<unknown>[] {
    const theirs = [this.#pods, this.#namespaces, this.#nodes, ...this.#workloads];
    return [...theirs, this.#objects, this.#shimmyNodes];
  }

  #follow<T>(resource: Resource, take: (object: KubernetesObject) => T | undefined): ListWatch<T> {
    const { api, clock, log, metrics, limits = {} } = this.#options;
    return new ListWatch<T>({
      api,
      resource,
      take,
      onChange: () => {
        this.refresh();
      },
      onEvent: watchCounter(metrics, resource.plural),
      clock,
      log,
      limits,
    });
  }

  /** Nothing is decided before everything is known: what is not known yet would be taken away. */
  #decide(): void {
    if (!this.isSynced) {
      this.refresh();
      return;
    }
    const world: World = {
      objects: this.#objects.items,
      pods: this.#pods.items,
      nodes: this.#nodes.items,
    };
    this.#plan = makePlan(world, new Date());
    const uninjected = this.#findUninjected();
    const problems = [
      ...uninjected.map(notInjected),
      ...this.#countUncarried(),
      ...this.#countSkipped(),
    ];
    this.#options.evictor?.consider(
      uninjected.map(({ pod }) => pod),
      this.#pods.items.values(),
    );
    if (!this.#options.isLeading()) return;
    for (const name of this.#plan.nodes.keys()) {
      if (!this.#isNodeRight(name)) this.#queue.add(NODE + name);
    }
    for (const [key, object] of this.#objects.items) {
      if (!isStatusRight(object, this.#plan.statuses.get(key))) this.#queue.add(OBJECT + key);
    }
    void this.#report(problems);
  }

  #isNodeRight(name: string): boolean {
    const uid = this.#nodes.items.get(name)?.uid;
    const attachments = this.#plan.nodes.get(name);
    if (uid === undefined || attachments === undefined) return true;
    return isNodeRight(this.#shimmyNodes.items.get(name), { uid, attachments });
  }

  async #work(key: string): Promise<void> {
    if (!this.#options.isLeading()) return;
    if (key.startsWith(NODE)) await this.#workOnNode(key.slice(NODE.length));
    else await this.#workOnObject(key.slice(OBJECT.length));
  }

  async #workOnNode(name: string): Promise<void> {
    const node = this.#nodes.items.get(name);
    const attachments = this.#plan.nodes.get(name);
    if (node === undefined || attachments === undefined) return;
    const { api } = this.#options;
    const found = this.#shimmyNodes.items.get(name);
    if (await writeNode(api, node, attachments, found)) this.#noteWritten("ShimmyNode", name);
  }

  async #workOnObject(key: string): Promise<void> {
    const object = this.#objects.items.get(key);
    const status = this.#plan.statuses.get(key);
    if (object === undefined || status === undefined || isStatusRight(object, status)) return;
    await writeStatus(this.#options.api, object, status);
    this.#noteWritten("SharedMemoryObject", key);
  }

  #noteWritten(kind: string, name: string): void {
    const { metrics, log } = this.#options;
    metrics.writes.inc({ kind, result: "written" });
    log.debug({ kind, name }, "object written");
  }

  #noteFailure(key: string, err: unknown): number {
    const { metrics, log } = this.#options;
    const kind = key.startsWith(NODE) ? "ShimmyNode" : "SharedMemoryObject";
    // Our copy is older than the object: the watch brings the new one.
    const isConflict = err instanceof ApiError && err.status === 409;
    metrics.writes.inc({ kind, result: isConflict ? "conflict" : "failed" });
    log[isConflict ? "debug" : "warn"]({ key, error: messageOf(err) }, "object not written");
    return err instanceof ApiError ? err.retryAfterMs : 0;
  }

  #findUninjected(): UninjectedPod[] {
    const { metrics } = this.#options;
    const uninjected = findUninjected(this.#injectionView);
    for (const level of OPT_IN_LEVELS) {
      const count = uninjected.filter(({ optIn }) => optIn === level).length;
      metrics.uninjectedPods.set({ opt_in: level }, count);
    }
    return uninjected;
  }

  /** One for each workload: all its pods are alike. */
  #countSkipped(): ObjectEvent[] {
    const skipped = findSkipped(this.#injectionView);
    for (const reason of INJECTION_REASONS) {
      const count = skipped.filter((each) => each.reason === reason).length;
      this.#options.metrics.skippedPods.set({ reason }, count);
    }
    return [...new Map(skipped.map(wasSkipped).map((each) => [each.about.uid, each])).values()];
  }

  get #injectionView(): InjectionView {
    return {
      pods: this.#pods.items,
      namespaces: this.#namespaces.items,
      excluded: this.#options.excludedNamespaces,
    };
  }

  #countUncarried(): ObjectEvent[] {
    return this.#workloads.flatMap(({ items }, index) => {
      const kind = CARRIED_RESOURCES[index]?.kind ?? "";
      const uncarried = findUncarried(items.values(), this.#pods.items);
      this.#options.metrics.uncarriedWorkloads.set({ kind }, uncarried.length);
      return uncarried.map(notCarried);
    });
  }

  /** One event for each object; those that could not be written come again with the next look. */
  async #report(problems: readonly ObjectEvent[]): Promise<void> {
    const present = new Set(problems.map(eventKey));
    this.#reported = new Set([...this.#reported].filter((key) => present.has(key)));
    for (const each of problems) {
      const key = eventKey(each);
      if (this.#reported.has(key)) continue;
      this.#reported.add(key);
      if (!(await this.#options.events.record(each))) this.#reported.delete(key);
    }
  }
}

function eventKey({ reason, about: { uid } }: ObjectEvent): string {
  return `${reason} ${uid}`;
}

const NOT_CARRIED: Readonly<Record<UncarriedCause, string>> = {
  template:
    "shimmy.io/inject was not carried to the template, so its pods get no sidecar: it was " +
    "annotated while the injector was not there; annotate it again, or its template",
  paused:
    "shimmy.io/inject is in the template, and pods from before have no sidecar: the rollout is " +
    "paused; resume it with kubectl rollout resume",
  on_delete:
    "shimmy.io/inject is in the template, and pods from before have no sidecar: the strategy is " +
    "OnDelete; delete the pods to have them made anew",
  partition:
    "shimmy.io/inject is in the template, and pods from before have no sidecar: they are below " +
    "the partition of the rolling update; set it to 0",
};

function notCarried({ cause, ...workload }: UncarriedWorkload): ObjectEvent {
  const { apiVersion, kind, namespace, name, uid } = workload;
  const about = { apiVersion, kind, namespace, name, uid };
  return { reason: "NotCarried", note: NOT_CARRIED[cause], about };
}

function wasSkipped({ pod, reason }: SkippedPod): ObjectEvent {
  const { namespace, name, uid, controller } = pod;
  const note =
    `pod ${name} has no shimmy-sidecar although its namespace opted in, for reason ${reason}; ` +
    "shimmy.io/inject: disabled in its template says that none is wanted";
  // Beside what Kubernetes says there of pods that are refused.
  const { apiVersion, kind, ...owner } = controller ?? { apiVersion: "v1", kind: "Pod", name, uid };
  const about = { apiVersion, kind, namespace, name: owner.name, uid: owner.uid };
  return { type: "Normal", reason: "Skipped", note, about };
}

function notInjected({ pod, optIn }: UninjectedPod): ObjectEvent {
  const who = optIn === "pod" ? "it opted in" : "its namespace opted in";
  const note =
    `the pod has no shimmy-sidecar although ${who}: it was made while the injector was not there ` +
    "or before the opt-in, or another webhook removed the sidecar; make it again";
  const { namespace, name, uid } = pod;
  const about = { apiVersion: "v1", kind: "Pod", namespace, name, uid };
  return { reason: "NotInjected", note, about };
}
