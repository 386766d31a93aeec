import type { AdminReply, AdminRoute } from "../common/admin-server.ts";
import { VERSION } from "../common/version.ts";
import type { Controller } from "./controller.ts";
import type { MasterMetrics } from "./metrics.ts";

/** What replies are made of. */
export interface MasterRouteDeps {
  readonly controller: Controller;
  readonly metrics: MasterMetrics;
  readonly identity: string;
  readonly isLeading: () => boolean;
  /** Who leads, as far as is known. */
  readonly leader: () => string | undefined;
}

/** What `/v1/status` answers. */
export interface MasterStatus {
  readonly version: string;
  readonly identity: string;
  readonly leading: boolean;
  readonly leader: string | undefined;
  readonly synced: boolean;
  /** `null` before anything was heard. */
  readonly silentMs: number | null;
  readonly objects: number;
  readonly attachments: number;
  readonly queue: number;
}

/** The paths of the master's admin address. */
export function createMasterRoutes(deps: MasterRouteDeps): Readonly<Record<string, AdminRoute>> {
  const { controller, metrics } = deps;
  return {
    "/healthz": () => plain(200, "ok"),
    // One that does not lead is ready too: it takes over at any moment.
    "/readyz": () =>
      controller.isSynced ? plain(200, "ok") : plain(503, "waiting for the API server"),
    "/metrics": async () => ({
      contentType: metrics.registry.contentType,
      body: await metrics.registry.metrics(),
    }),
    "/v1/status": () => ({ body: JSON.stringify(statusOf(deps)) }),
  };
}

function statusOf({ controller, identity, isLeading, leader }: MasterRouteDeps): MasterStatus {
  const { isSynced, silentMs, objectCount, plan, queueLength } = controller;
  return {
    version: VERSION,
    identity,
    leading: isLeading(),
    leader: leader(),
    synced: isSynced,
    silentMs: Number.isFinite(silentMs) ? Math.round(silentMs) : null,
    objects: objectCount,
    attachments: plan.attachments,
    queue: queueLength,
  };
}

function plain(status: number, text: string): AdminReply {
  return { status, contentType: "text/plain; charset=utf-8", body: `${text}\n` };
}
