import { Counter, Gauge, Histogram, Registry } from "prom-client";

import { VERSION } from "../common/version.ts";

/** The injector's metrics; docs/reference/metrics.md has a row for each. */
export interface InjectorMetrics {
  readonly registry: Registry;
  /** `outcome`, and for skips and refusals `reason`, else empty. */
  readonly admissions: Counter<"outcome" | "reason">;
  /** Without the time on the network. */
  readonly admissionSeconds: Histogram;
  /** `status`: of the reply. */
  readonly httpRequests: Counter<"status">;
  /** `what`: `certificate` or `settings`; `result`: `loaded` or `refused`. */
  readonly reloads: Counter<"what" | "result">;
}

/** What gauges are read from when metrics are collected. */
export interface InjectorGauges {
  /** In seconds since 1970. */
  readonly certificateExpiry: () => number;
}

/** Makes the injector's metrics, in a registry of their own. */
export function createInjectorMetrics({ certificateExpiry }: InjectorGauges): InjectorMetrics {
  const registry = new Registry();
  const registers = [registry];
  new Gauge({
    name: "shimmy_injector_info",
    help: "Always 1; the version is a label.",
    labelNames: ["version"],
    registers,
  }).set({ version: VERSION }, 1);
  new Gauge({
    name: "shimmy_injector_certificate_expiry_timestamp_seconds",
    help: "When the certificate of the webhooks ends, in seconds since 1970.",
    registers,
    collect() {
      this.set(certificateExpiry());
    },
  });
  const admissions = new Counter({
    name: "shimmy_injector_admissions_total",
    help: "Admission reviews answered, by outcome and reason.",
    labelNames: ["outcome", "reason"],
    registers,
  });
  const admissionSeconds = new Histogram({
    name: "shimmy_injector_admission_seconds",
    help: "Time from the end of a review to its answer.",
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5],
    registers,
  });
  const httpRequests = new Counter({
    name: "shimmy_injector_http_requests_total",
    help: "HTTP requests answered, by status.",
    labelNames: ["status"],
    registers,
  });
  const reloads = new Counter({
    name: "shimmy_injector_reloads_total",
    help: "Changes of certificate and settings, by result.",
    labelNames: ["what", "result"],
    registers,
  });
  // There from the start: an increase from nothing to 1 is none to Prometheus, and no alert.
  httpRequests.inc({ status: "500" }, 0);
  for (const what of ["certificate", "settings"]) {
    for (const result of ["loaded", "refused"]) reloads.inc({ what, result }, 0);
  }
  return { registry, admissions, admissionSeconds, httpRequests, reloads };
}
