import { hostname } from "node:os";
import { join } from "node:path";

import { AdminServer } from "../common/admin-server.ts";
import { systemClock, type Clock } from "../common/clock.ts";
import type { ListenAddress } from "../common/env-parsers.ts";
import type { Logger } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { ADMIN_SOCKET, type HealthReply } from "./api.ts";
import { ApiServer } from "./api-server.ts";
import { admitOperator } from "./attestation.ts";
import { Broker } from "./broker.ts";
import type { Catalog } from "./catalog.ts";
import { FileCatalogSource } from "./catalog-file.ts";
import type { CatalogSource } from "./catalog-source.ts";
import { ChannelBroker } from "./channels/broker.ts";
import { Claims } from "./channels/claims.ts";
import { MemoryRegistry, type ChannelRegistry } from "./channels/registry.ts";
import { changeChannels } from "./channels/routes.ts";
import { Cleanup } from "./cleanup.ts";
import { DirectoryPlace } from "./directory-place.ts";
import { addAgentGauges, createAgentMetrics, type AgentMetrics } from "./metrics.ts";
import { connectTo, systemNative, type AgentNative } from "./native.ts";
import { NetnsHelper } from "./netns-client.ts";
import { NetnsPlace } from "./netns-place.ts";
import { PodSocketSet } from "./pod-socket-set.ts";
import { PodSockets } from "./pod-sockets.ts";
import { PodProcesses } from "./processes.ts";
import { DEFAULT_QUOTAS, type Quotas } from "./quotas.ts";
import { createAdminRoutes, createRoutes, withMetrics, type RouteDeps } from "./routes.ts";
import { prepareRuntimeDir, prepareSharedDir, removeStalePods } from "./runtime-dir.ts";
import type { SocketPlace } from "./socket-place.ts";

/** What a source of the catalog works with. */
export interface CatalogDeps {
  readonly metrics: AgentMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Roles that processes of this node have in channels. */
  readonly attached: () => number;
  /** Called with each new catalog, from {@link CatalogSource.watch} on. */
  readonly onChange: (catalog: Catalog) => void;
}

/** Opens what the agent knows pods and services by. */
export type OpenCatalog = (deps: CatalogDeps) => Promise<CatalogSource>;

/** Opens the registry of channels. */
export type OpenRegistry = (deps: {
  readonly node: string;
  readonly clock: Clock;
  readonly log: Logger;
}) => ChannelRegistry;

/** Options for {@link runAgent}. */
export interface AgentOptions {
  readonly openCatalog: OpenCatalog;
  /** Directory for the sockets; made when it is not there. */
  readonly runtimeDir: string;
  /**
   * Socket of the helper that makes pods' sockets in their network namespaces. Without it they are
   * in directories below `runtimeDir`.
   */
  readonly netnsHelper?: string;
  /** Where health, metrics and the table of the node are served over HTTP, if they are. */
  readonly adminAddress?: ListenAddress | undefined;
  readonly log: Logger;
  /** Whether the node-wide socket is served. @defaultValue true */
  readonly admin?: boolean;
  /**
   * How long a channel that nobody has attached keeps what was not read, in milliseconds.
   * @defaultValue 300,000
   */
  readonly channelGraceMs?: number;
  /** Opens where channels are on record. @defaultValue in memory */
  readonly openRegistry?: OpenRegistry;
  /** What is not given is as in {@link DEFAULT_QUOTAS}. */
  readonly quotas?: Partial<Quotas>;
  /** See {@link ClientDeps.newestVersion}. */
  readonly newestVersion?: number | undefined;
  /** @defaultValue the native library */
  readonly native?: AgentNative;
  /** @defaultValue the process's time */
  readonly clock?: Clock;
}

/** An agent that serves. */
export interface RunningAgent {
  /** Path of the node-wide socket, if it is served. */
  readonly adminSocket: string | undefined;
  /** Address of {@link AgentOptions.adminAddress}, with the port that the kernel chose. */
  readonly adminAddress: ListenAddress | undefined;
  health(): HealthReply;
  /** Closes every socket and removes the files. Sessions and streams between sidecars go on. */
  close(): Promise<void>;
}

/** How long channels that nobody has attached keep what was not read. */
const CHANNEL_GRACE_MS = 300_000;
/** How often one-sided sessions are looked for. */
const SWEEP_MS = 5000;
/** How often pods without sockets are looked for. */
const LOOK_MS = 500;
/** While all have theirs, one look in so many is for processes that are new. */
const LAZY_LOOKS = 4;

/** Opens a catalog file. */
export function catalogFile(path: string): OpenCatalog {
  return ({ metrics, clock, log, onChange }) =>
    FileCatalogSource.open({
      path,
      defaults: { node: hostname(), uid: process.geteuid?.() ?? 0 },
      clock,
      log,
      onChange: (catalog) => {
        metrics.catalogLoads.inc({ result: "loaded" });
        onChange(catalog);
      },
      onRefused: () => {
        metrics.catalogLoads.inc({ result: "refused" });
      },
    });
}

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
  const { channelGraceMs = CHANNEL_GRACE_MS } = options;
  const quotas = { ...DEFAULT_QUOTAS, ...options.quotas };
  const metrics = createAgentMetrics();
  const startedAt = clock.now();

  const source = await options.openCatalog({
    metrics,
    clock,
    log,
    attached: () => channels.table.attachmentCount,
    onChange: (catalog) => {
      broker.setCatalog(catalog);
      channels.setCatalog(catalog);
      void sockets.reconcile();
    },
  });
  cleanup.defer(() => {
    source.close();
  });

  const catalog = (): Catalog => source.catalog;
  const broker = new Broker(catalog(), { native, clock, quotas, metrics, log });
  cleanup.defer(() => {
    broker.stop();
  });
  const processes = new PodProcesses();
  const place = await preparePlace(options, { clock, processes });
  const registry = openRegistry(options, { node: catalog().node, clock, log });
  cleanup.defer(() => {
    registry.close();
  });
  const channels = new ChannelBroker(catalog(), {
    native,
    registry,
    claims: await Claims.open(runtimeDir),
    clock,
    quotas,
    metrics,
    log,
    graceMs: channelGraceMs,
  });
  cleanup.defer(() => {
    channels.stop();
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
    registry: registry.state,
    failedPods: sockets.failures,
  });
  const routes: RouteDeps = {
    broker,
    channels,
    catalog,
    health,
    reportOf: (pod) => sockets.reportOf(pod),
  };
  const sockets = new PodSocketSet({
    place,
    open: (pod, listeners) =>
      PodSockets.open(pod, listeners, {
        broker,
        channels,
        native,
        clock,
        quotas,
        metrics,
        log,
        catalog,
        newestVersion: options.newestVersion,
        route: createRoutes(routes, pod.uid),
        change: (change) => changeChannels(routes, pod.uid, change),
      }),
    catalog,
    metrics,
    clock,
    log,
  });
  cleanup.defer(() => sockets.close());
  addAgentGauges(metrics, {
    sessions: () => broker.sessions().length,
    sidecars: () => broker.memberCount,
    pods: () => catalog().pods.size,
    failedPods: () => sockets.failures.length,
    channels: () => channels.table.size,
    channelAttachments: () => channels.table.attachmentCount,
    channelProcesses: () => channels.memberCount,
    channelBytes: () => channels.table.lodgedBytes,
  });

  const adminSocket = options.admin === false ? undefined : join(runtimeDir, ADMIN_SOCKET);
  if (adminSocket !== undefined) {
    const server = await ApiServer.listen({
      on: { path: adminSocket, mode: 0o600 },
      admit: admitOperator,
      takeRequest: () => true,
      route: withMetrics(createRoutes(routes), metrics),
      change: (change) => changeChannels(routes, undefined, change),
      maxConnections: quotas.connectionsPerSocket,
      native,
      metrics,
      log,
    });
    cleanup.defer(() => server.close());
  }
  const admin = await serveAdmin(options, createAdminRoutes(routes, metrics));
  if (admin !== undefined) cleanup.defer(() => admin.close());

  if (options.netnsHelper !== undefined) {
    await processes.scan();
    cleanup.defer(clock.every(LOOK_MS, lookForPods(processes, sockets, log)));
  }
  await sockets.reconcile();
  source.watch();
  cleanup.defer(
    clock.every(SWEEP_MS, () => {
      broker.sweep();
      channels.sweep();
    }),
  );
  log.info({ runtimeDir, node: catalog().node, pods: catalog().pods.size }, "agent started");

  return { adminSocket, adminAddress: admin?.address, health, close: () => cleanup.run() };
}

function openRegistry(
  { openRegistry: open }: AgentOptions,
  deps: Parameters<OpenRegistry>[0],
): ChannelRegistry {
  return open === undefined ? new MemoryRegistry() : open(deps);
}

/** Makes ready where pods' sockets are to be. */
async function preparePlace(
  { runtimeDir, netnsHelper }: AgentOptions,
  { clock, processes }: { clock: Clock; processes: PodProcesses },
): Promise<SocketPlace> {
  if (netnsHelper === undefined) {
    await prepareRuntimeDir(runtimeDir);
    await removeStalePods(runtimeDir);
    return new DirectoryPlace(runtimeDir);
  }
  await prepareSharedDir(runtimeDir);
  const helper = new NetnsHelper({ path: netnsHelper, connect: connectTo, clock });
  return new NetnsPlace({ processes, helper });
}

async function serveAdmin(
  { adminAddress, log }: AgentOptions,
  routes: ReturnType<typeof createAdminRoutes>,
): Promise<AdminServer | undefined> {
  if (adminAddress === undefined) return undefined;
  return AdminServer.listen({ ...adminAddress, routes, log });
}

/** One look at a time; a late one is left out. */
function lookForPods(processes: PodProcesses, sockets: PodSocketSet, log: Logger): () => void {
  let isLooking = false;
  let looks = 0;
  const look = async (): Promise<void> => {
    looks++;
    if (sockets.isIncomplete || looks % LAZY_LOOKS === 0) await processes.scan();
    await sockets.check();
  };
  return () => {
    if (isLooking) return;
    isLooking = true;
    look()
      .catch((err: unknown) => {
        log.error({ err }, "processes of pods not looked for");
      })
      .finally(() => {
        isLooking = false;
      });
  };
}
