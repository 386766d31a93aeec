import { Counter, Gauge, Registry } from "prom-client";

import type { ListWatchEvent } from "../common/kubernetes/list-watch.ts";
import { INJECTION_REASONS, type InjectionReason } from "../common/reasons.ts";
import { VERSION } from "../common/version.ts";
import { CARRIED_RESOURCES } from "./uncarried.ts";
import { OPT_IN_LEVELS, type OptInLevel } from "./uninjected.ts";

/** The master's metrics; docs/reference/metrics.md has a row for each. Label sets are constant and small. */
export interface MasterMetrics {
  readonly registry: Registry;
  /** `resource`: plural; `event`: what happened. */
  readonly watchEvents: Counter<"resource" | "event">;
  /** `kind`: of the object; `result`: `written`, `conflict` or `failed`. */
  readonly writes: Counter<"kind" | "result">;
  /** `result`: `written`, `known`, `dropped` or `failed`. */
  readonly events: Counter<"result">;
  readonly uninjectedPods: Gauge<"opt_in">;
  /** `kind`: of the workload. */
  readonly uncarriedWorkloads: Gauge<"kind">;
  /** `reason`: why a pod of a namespace that opted in was left alone. */
  readonly skippedPods: Gauge<"reason">;
  /** `result`: `evicted`, `refused` or `failed`. */
  readonly evictions: Counter<"result">;
  /** `certificate`: name of its Secret. */
  readonly certificateExpiry: Gauge<"certificate">;
}

/** What gauges are read from when metrics are collected. */
export interface MasterGauges {
  readonly isLeading: () => boolean;
  readonly objects: () => number;
  readonly attachments: () => number;
  readonly queueLength: () => number;
  /** Longest time since the API server was heard about a kind, in milliseconds. */
  readonly silentMs: () => number;
}

/** Makes the master's metrics, in a registry of their own. */
export function createMasterMetrics(): MasterMetrics {
  const registry = new Registry();
  const registers = [registry];
  new Gauge({
    name: "shimmy_master_info",
    help: "Always 1; the version is a label.",
    labelNames: ["version"],
    registers,
  }).set({ version: VERSION }, 1);
  const uninjectedPods = new Gauge({
    name: "shimmy_master_uninjected_pods",
    help: "Pods that opted in, themselves or by their namespace, and have no sidecar.",
    labelNames: ["opt_in"],
    registers,
  });
  for (const level of OPT_IN_LEVELS) uninjectedPods.set({ opt_in: level satisfies OptInLevel }, 0);
  const uncarriedWorkloads = new Gauge({
    name: "shimmy_master_uncarried_workloads",
    help: "Workloads that were annotated to opt in, and whose template was not or has not reached its pods.",
    labelNames: ["kind"],
    registers,
  });
  for (const { kind } of CARRIED_RESOURCES) uncarriedWorkloads.set({ kind }, 0);
  const skippedPods = new Gauge({
    name: "shimmy_master_skipped_pods",
    help: "Pods whose namespace opted in and that were left without a sidecar, by reason.",
    labelNames: ["reason"],
    registers,
  });
  for (const reason of INJECTION_REASONS) {
    skippedPods.set({ reason: reason satisfies InjectionReason }, 0);
  }
  const evictions = new Counter({
    name: "shimmy_master_evictions_total",
    help: "Pods without a sidecar that were to be evicted, by result; a budget may refuse.",
    labelNames: ["result"],
    registers,
  });
  return {
    registry,
    uninjectedPods,
    skippedPods,
    evictions,
    uncarriedWorkloads,
    watchEvents: new Counter({
      name: "shimmy_master_watch_events_total",
      help: "Lists and watches begun, errors, silent watches, and objects refused.",
      labelNames: ["resource", "event"],
      registers,
    }),
    writes: new Counter({
      name: "shimmy_master_writes_total",
      help: "Objects written, by result; a conflict is tried again.",
      labelNames: ["kind", "result"],
      registers,
    }),
    certificateExpiry: new Gauge({
      name: "shimmy_master_certificate_expiry_timestamp_seconds",
      help: "When a certificate that the leader keeps ends, in seconds since 1970.",
      labelNames: ["certificate"],
      registers,
    }),
    events: new Counter({
      name: "shimmy_master_events_total",
      help: "Kubernetes events, by result; more than 60 a minute are dropped.",
      labelNames: ["result"],
      registers,
    }),
  };
}

/** Counts what happens to the copy of one kind. */
export function watchCounter(
  { watchEvents }: MasterMetrics,
  resource: string,
): (event: ListWatchEvent) => void {
  return (event) => {
    watchEvents.inc({ resource, event });
  };
}

/** Adds the gauges, once there is something to read them from. */
export function addMasterGauges({ registry }: MasterMetrics, gauges: MasterGauges): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name: `shimmy_master_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  gauge("leading", "Whether this process leads: 1 or 0.", () => Number(gauges.isLeading()));
  gauge("objects", "SharedMemoryObjects known now.", gauges.objects);
  gauge("attachments", "Attachments wanted now, on all nodes.", gauges.attachments);
  gauge("queue_length", "Objects that wait to be written.", gauges.queueLength);
  gauge(
    "watch_silent_seconds",
    "Longest time since the API server was heard about one of the kinds.",
    () => gauges.silentMs() / 1000,
  );
}
