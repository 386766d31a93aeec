// The figures of the injector bench, and what it measures them with.
import type { Target } from "../lib/result.ts";

/** Size of each pod that is to be admitted, as JSON: env, volumes and annotations as charts make them. */
export const POD_BYTES = 50 * 1024;

/** What the injector is asked in a second when its latency is measured. */
export const OFFERED_PER_SECOND = 1000;

/** Up to this 99th percentile a rate counts as borne, in milliseconds. */
export const LATENCY_BOUND_MS = 50;

/** Every absolute figure of the bench. */
export const FIGURES: readonly Target[] = [
  {
    key: "requests_per_second",
    title: `pods of ${POD_BYTES / 1024} KiB admitted a second on one core, asked for at fixed times over TLS 1.3, with a 99th percentile under ${LATENCY_BOUND_MS} ms`,
    bound: 1000,
  },
  {
    key: "p99_ms",
    title: `time to admit one, ${OFFERED_PER_SECOND} asked for a second at fixed times, 99th percentile, ms`,
    bound: LATENCY_BOUND_MS,
  },
];
