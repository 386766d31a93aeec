import { randomBytes } from "node:crypto";
import { hostname } from "node:os";

import { AdminServer, formatAddress } from "../common/admin-server.ts";
import { systemClock, type Clock } from "../common/clock.ts";
import type { ListenAddress } from "../common/env-parsers.ts";
import type { ClusterAccess } from "../common/kubernetes/access.ts";
import { ApiClient } from "../common/kubernetes/api-client.ts";
import { LeaderElector, type ElectionTimes } from "../common/kubernetes/leader-elector.ts";
import type { ListWatchLimits } from "../common/kubernetes/list-watch.ts";
import type { Logger } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { CertificateKeeper } from "./certificates/keeper.ts";
import { Controller } from "./controller.ts";
import type { MasterConfig } from "./env.ts";
import { EventRecorder } from "./events.ts";
import { Evictor } from "./evictor.ts";
import { addMasterGauges, createMasterMetrics } from "./metrics.ts";
import { createMasterRoutes } from "./routes.ts";

/** Options for {@link runMaster}. */
export interface MasterOptions {
  /** From `resolveMasterConfig()`. */
  readonly config: MasterConfig;
  /** From `findClusterAccess()`. */
  readonly access: ClusterAccess;
  readonly log: Logger;
  /** @defaultValue the process's time */
  readonly clock?: Clock;
  /** @defaultValue those of Kubernetes' own controllers */
  readonly times?: ElectionTimes;
  readonly limits?: Partial<ListWatchLimits>;
}

/** A master that runs. */
export interface RunningMaster {
  /** Where health, metrics and status are. */
  readonly admin: ListenAddress;
  readonly isLeading: boolean;
  /** Settles when another may lead: then the process is to end, because it may not write any more. */
  readonly lost: Promise<void>;
  /** Gives the Lease up and closes everything. What exists in the cluster goes on. */
  close(): Promise<void>;
}

/**
 * Starts a master in this process. It waits for the API server as long as it takes.
 *
 * @returns When the admin address is bound.
 * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE`, `SHIMMY_ERR_ADDRESS_NOT_AVAILABLE` or
 * `SHIMMY_ERR_SYSTEM` when it cannot be.
 */
export async function runMaster(options: MasterOptions): Promise<RunningMaster> {
  const { config, access, log, clock = systemClock, times, limits = {} } = options;
  // The random part: a container that is started again has the same host name.
  const identity = config.identity ?? `${hostname()}_${randomBytes(4).toString("hex")}`;
  const namespace = config.leaseNamespace ?? access.namespace;
  const metrics = createMasterMetrics();
  const api = new ApiClient(access);
  const lost = Promise.withResolvers<undefined>();

  const elector = new LeaderElector({
    api,
    namespace,
    name: config.leaseName,
    identity,
    onLeading: () => {
      controller.refresh();
      certificates.refresh();
    },
    onLost: () => {
      lost.resolve(undefined);
    },
    clock,
    log,
    ...(times === undefined ? {} : { times }),
  });
  const isLeading = (): boolean => elector.isLeading;
  const events = new EventRecorder({
    api,
    identity,
    clock,
    log,
    onResult: (result) => {
      metrics.events.inc({ result });
    },
  });
  const evictor = config.isEvicting
    ? new Evictor({ api, events, metrics, clock, log, isLeading })
    : undefined;
  const excludedNamespaces = new Set([...config.excludedNamespaces, namespace]);
  const controller = new Controller({
    api,
    events,
    evictor,
    metrics,
    clock,
    log,
    isLeading,
    excludedNamespaces,
    limits,
  });
  const certificates = new CertificateKeeper({
    api,
    namespace,
    webhookCertificates: config.webhookCertificates,
    metrics,
    clock,
    log,
    isLeading,
    limits,
  });
  addMasterGauges(metrics, {
    isLeading,
    objects: () => controller.objectCount,
    attachments: () => controller.plan.attachments,
    queueLength: () => controller.queueLength,
    silentMs: () => controller.silentMs,
  });

  const leader = (): string | undefined => elector.leader;
  const routes = createMasterRoutes({ controller, metrics, identity, isLeading, leader });
  const admin = await AdminServer.listen({ ...config.adminAddress, routes, log });
  controller.start();
  certificates.start();
  elector.start();
  const at = formatAddress(admin.address);
  log.info({ identity, namespace, admin: at, version: VERSION }, "master started");

  const close = async (): Promise<void> => {
    // Writes first, so that nothing is written after another leads.
    await Promise.all([controller.close(), certificates.close()]);
    await elector.close();
    await admin.close();
    await api.close();
    log.info({ identity }, "master stopped");
  };
  let closed: Promise<void> | undefined;
  return {
    admin: admin.address,
    get isLeading() {
      return isLeading();
    },
    lost: lost.promise,
    close: () => (closed ??= close()),
  };
}
