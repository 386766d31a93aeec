import { hostname } from "node:os";
import { join } from "node:path";

import type { Logger } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { ADMIN_SOCKET, type HealthReply } from "./api.ts";
import { ApiServer } from "./api-server.ts";
import { admitOperator } from "./attestation.ts";
import { Broker } from "./broker.ts";
import { Cleanup } from "./cleanup.ts";
import type { Catalog } from "./catalog.ts";
import { FileCatalogSource } from "./catalog-file.ts";
import { systemClock, type Clock } from "../common/clock.ts";
import { addAgentGauges, createAgentMetrics } from "./metrics.ts";
import { systemNative, type AgentNative } from "./native.ts";
import { PodSockets, PodSocketSet } from "./pod-sockets.ts";
import { DEFAULT_QUOTAS, type Quotas } from "./quotas.ts";
import { createRoutes, withMetrics, type RouteDeps } from "./routes.ts";
import { prepareRuntimeDir, removeStalePods } from "./runtime-dir.ts";

/** Options for {@link runAgent}. */
export interface AgentOptions {
  /** The catalog file. */
  readonly catalogPath: string;
  /** Directory for the sockets; made when it is not there. */
  readonly runtimeDir: string;
  readonly log: Logger;
  /** Whether the node-wide socket is served. @defaultValue true */
  readonly admin?: boolean;
  /** What is not given is as in {@link DEFAULT_QUOTAS}. */
  readonly quotas?: Partial<Quotas>;
  /** @defaultValue the native library */
  readonly native?: AgentNative;
  /** @defaultValue the process's time */
  readonly clock?: Clock;
}

/** An agent that serves. */
export interface RunningAgent {
  /** Path of the node-wide socket, if it is served. */
  readonly adminSocket: string | undefined;
  health(): HealthReply;
  /** Closes every socket and removes the files. Sessions and streams between sidecars go on. */
  close(): Promise<void>;
}

/** How often one-sided sessions are looked for. */
const SWEEP_MS = 5000;

/**
 * Starts an agent in this process.
 *
 * @returns When every socket that can be opened is open.
 * @throws {@link ShimmyError} `SHIMMY_ERR_CATALOG_INVALID` when the catalog is refused.
 * @throws {@link ShimmyError} `SHIMMY_ERR_RUNTIME_DIR` when the directory cannot be used.
 * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` when another agent serves it.
 */
export async function runAgent(options: AgentOptions): Promise<RunningAgent> {
  const cleanup = new Cleanup();
  try {
    return await start(options, cleanup);
  } catch (err) {
    await cleanup.run();
    throw err;
  }
}

async function start(options: AgentOptions, cleanup: Cleanup): Promise<RunningAgent> {
  const { runtimeDir, log, native = systemNative, clock = systemClock } = options;
  const quotas = { ...DEFAULT_QUOTAS, ...options.quotas };
  const metrics = createAgentMetrics();
  const startedAt = clock.now();

  const source = await FileCatalogSource.open({
    path: options.catalogPath,
    defaults: { node: hostname(), uid: process.geteuid?.() ?? 0 },
    clock,
    log,
    onChange: (catalog) => {
      metrics.catalogLoads.inc({ result: "loaded" });
      broker.setCatalog(catalog);
      void sockets.reconcile();
    },
    onRefused: () => {
      metrics.catalogLoads.inc({ result: "refused" });
    },
  });
  cleanup.defer(() => {
    source.close();
  });
  await prepareRuntimeDir(runtimeDir);
  await removeStalePods(runtimeDir);

  const catalog = (): Catalog => source.catalog;
  const broker = new Broker(catalog(), { native, clock, quotas, metrics, log });
  cleanup.defer(() => {
    broker.stop();
  });
  const health = (): HealthReply => ({
    status: source.error === undefined && sockets.failures.length === 0 ? "ok" : "degraded",
    version: VERSION,
    node: catalog().node,
    uptimeSeconds: Math.floor((clock.now() - startedAt) / 1000),
    catalog: {
      loadedAt: source.loadedAt.toISOString(),
      pods: catalog().pods.size,
      services: catalog().services.size,
      ...(source.error === undefined ? {} : { error: source.error.message }),
    },
    failedPods: sockets.failures,
  });
  const routes: RouteDeps = {
    broker,
    catalog,
    health,
    reportOf: (pod) => sockets.reportOf(pod),
  };
  const sockets = new PodSocketSet({ log, catalog }, (pod) =>
    PodSockets.open(pod, {
      broker,
      native,
      clock,
      quotas,
      metrics,
      log,
      catalog,
      runtimeDir,
      route: createRoutes(routes, pod.uid),
    }),
  );
  cleanup.defer(() => sockets.close());
  addAgentGauges(metrics, {
    sessions: () => broker.sessions().length,
    sidecars: () => broker.memberCount,
    pods: () => catalog().pods.size,
    failedPods: () => sockets.failures.length,
  });

  const adminSocket = options.admin === false ? undefined : join(runtimeDir, ADMIN_SOCKET);
  if (adminSocket !== undefined) {
    const server = await ApiServer.listen({
      path: adminSocket,
      mode: 0o600,
      admit: admitOperator,
      takeRequest: () => true,
      route: withMetrics(createRoutes(routes), metrics),
      maxConnections: quotas.connectionsPerSocket,
      native,
      metrics,
      log,
    });
    cleanup.defer(() => server.close());
  }
  await sockets.reconcile();
  source.watch();
  cleanup.defer(
    clock.every(SWEEP_MS, () => {
      broker.sweep();
    }),
  );
  log.info({ runtimeDir, node: catalog().node, pods: catalog().pods.size }, "agent started");

  return { adminSocket, health, close: () => cleanup.run() };
}
