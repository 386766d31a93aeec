// The figures of the injector bench, and what it measures them with.
import type { Target } from "../lib/result.ts";

/** Size of each pod that is to be admitted, as JSON: env, volumes and annotations as charts make them. */
export const POD_BYTES = 50 * 1024;

/** What the injector is asked in a second when its latency is measured. */
export const OFFERED_PER_SECOND = 1000;

/** Connections: an API server keeps up to 25 to a webhook. */
export const CONNECTIONS = 25;

/** Every absolute figure of the bench. */
export const FIGURES: readonly Target[] = [
  {
    key: "requests_per_second",
    title: `pods of ${POD_BYTES / 1024} KiB admitted a second on one core, over TLS`,
    bound: 1000,
  },
  {
    key: "p99_ms",
    title: `time to admit one, ${OFFERED_PER_SECOND} asked for a second at fixed times, 99th percentile, ms`,
    bound: 50,
  },
];
