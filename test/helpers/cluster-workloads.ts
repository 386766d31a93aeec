/** Workloads of ordinary programs, for the cluster of test/cluster/lab. */
import type { PodMetrics } from "./cluster.ts";
import { APPS_IMAGE } from "./cluster.ts";

/** Kinds that `kubectl rollout` knows. */
export type RolloutKind = "Deployment" | "StatefulSet" | "DaemonSet";

/** What is special about a workload. */
export interface WorkloadOptions {
  /** @defaultValue Deployment */
  readonly kind?: RolloutKind;
  /** Not for a DaemonSet. @defaultValue 1 */
  readonly replicas?: number;
  /** Where its pods may run. @defaultValue anywhere */
  readonly node?: string;
  /** Of the workload itself. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** More fields of its only container; it sleeps if it has no `command`. */
  readonly container?: Readonly<Record<string, unknown>>;
  /** More fields of its pods. */
  readonly pod?: Readonly<Record<string, unknown>>;
  /** More fields of its spec. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

const SLEEP = ["sleep", "1000000"];

/** A workload whose pods have the label `app` and one container, both with its name. */
export function workload(name: string, options: WorkloadOptions = {}): object {
  const { kind = "Deployment", replicas = 1, node, annotations = {}, container = {} } = options;
  const labels = { app: name };
  return {
    apiVersion: "apps/v1",
    kind,
    metadata: { name, namespace: "default", annotations },
    spec: {
      ...(kind === "DaemonSet" ? {} : { replicas }),
      ...(kind === "StatefulSet" ? { serviceName: name } : {}),
      ...options.spec,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 1,
          ...(node === undefined ? {} : { nodeSelector: { "kubernetes.io/hostname": node } }),
          containers: [programContainer(name, container)],
          ...options.pod,
        },
      },
    },
  };
}

/** A container of the image of ordinary programs; it sleeps if it has no `command`. */
export function programContainer(
  name: string,
  fields: Readonly<Record<string, unknown>> = {},
): object {
  return { name, image: APPS_IMAGE, imagePullPolicy: "Never", command: SLEEP, ...fields };
}

/**
 * An nginx as people run it who want to lose nothing in a rollout: it gets requests when it is ready,
 * and goes on for as long as others may not have heard that it ends; new pods come before old ones go.
 */
export function webServer(name: string, options: WorkloadOptions = {}): object {
  const nginx = "nginx -e stderr -c /etc/nginx/nginx.conf";
  return workload(name, {
    ...options,
    container: {
      command: nginx.split(" "),
      ports: [{ containerPort: 8080 }],
      readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 },
      lifecycle: {
        preStop: { exec: { command: ["sh", "-c", `sleep 3; ${nginx} -s quit; sleep 1`] } },
      },
      ...options.container,
    },
    pod: { terminationGracePeriodSeconds: 15, ...options.pod },
    spec: {
      strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      ...options.spec,
    },
  });
}

/** The Service of a {@link webServer}. */
export function webService(name: string): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
  };
}

/**
 * A program that calls the upstream `nginx` all the time, from its start until it is told to end, in
 * two containers: `fresh` on a new connection each time, `kept` on connections that it keeps. They
 * print a line for each request that failed, and how many there were at the end.
 */
export function webClient(name: string, options: WorkloadOptions = {}): object {
  const loop = (body: string): Readonly<Record<string, unknown>> => ({
    command: [
      "sh",
      "-euc",
      `url="http://\${SHIMMY_NGINX_URL#*://}/" stop=0 requests=0 failed=0
      trap 'stop=1' TERM
      while [ $stop = 0 ]; do ${body}
      done
      echo "end: $requests requests, $failed failed"`,
    ],
  });
  const curl = "curl --silent --show-error --fail --max-time 5 --output /dev/null";
  const fresh = `requests=$((requests+1))
        ${curl} "$url" || { failed=$((failed+1)); echo "failed: request $requests"; }
        sleep 0.02`;
  const kept = `
        ${curl} --rate 50/s --write-out '%{exitcode} %{num_connects}\\n' "$url?[1-50]" >/tmp/results || true
        requests=$((requests + $(wc -l </tmp/results)))
        failed=$((failed + $(grep -vc ^0 /tmp/results || true)))
        grep -v ^0 /tmp/results | sed 's/^/failed: /' || true`;
  return workload(name, {
    ...options,
    pod: {
      terminationGracePeriodSeconds: 15,
      ...options.pod,
      containers: [programContainer("fresh", loop(fresh)), programContainer("kept", loop(kept))],
    },
  });
}

/** What a container of {@link webClient} has printed. */
export interface ClientReport {
  /** Each failed request, as curl and the loop say it. */
  readonly failures: readonly string[];
  /** Known when it has ended. */
  readonly requests: number | undefined;
}

/** Reads the log of a container of {@link webClient}. */
export function readClientLog(text: string): ClientReport {
  const lines = text.split("\n").filter((line) => line !== "");
  const end = /^end: (\d+) requests, \d+ failed$/m.exec(text)?.[1];
  return {
    failures: lines.filter((line) => !line.startsWith("end: ")),
    requests: end === undefined ? undefined : Number(end),
  };
}

/** Connections of the application since another scrape of the same sidecar. */
export function connectionsSince(
  before: PodMetrics,
  after: PodMetrics,
): { readonly shm: number; readonly tcp: number } {
  return {
    shm: after.outbound("shm") - before.outbound("shm"),
    tcp: after.outbound("tcp") - before.outbound("tcp"),
  };
}
