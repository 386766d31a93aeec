import { createRequire } from "node:module";
import type { Metric, Registry as PromRegistry } from "prom-client";

import { SIDECAR_METRICS, type MetricsSnapshot } from "./metric-definitions.ts";

// The whole of prom-client is 7 MiB of memory, clustering and the push gateway included; its
// registry, which is all that native counters need, is 0.2 MiB.
const Registry = createRequire(import.meta.url)(
  "prom-client/lib/registry.js",
) as typeof PromRegistry;

/** The sidecar's metrics, read from the native counters when they are scraped. */
export class SidecarMetrics {
  /** Type of what {@link SidecarMetrics.text} gives. */
  readonly contentType: string = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #registry = new Registry();
  readonly #takeSnapshot: () => MetricsSnapshot;
  #snapshot: MetricsSnapshot;

  /** Metrics of what `takeSnapshot` gives at each scrape. */
  constructor(takeSnapshot: () => MetricsSnapshot) {
    this.#takeSnapshot = takeSnapshot;
    this.#snapshot = takeSnapshot();
    for (const { name, help, type, read } of SIDECAR_METRICS) {
      const metric = {
        name,
        get: () => Promise.resolve({ name, help, type, values: read(this.#snapshot) }),
      };
      // What a registry calls of a metric is its name and get(); the type asks for more.
      this.#registry.registerMetric(metric as unknown as Metric);
    }
  }

  /** All metrics in Prometheus's text format. */
  text(): Promise<string> {
    this.#snapshot = this.#takeSnapshot();
    return this.#registry.metrics();
  }
}
