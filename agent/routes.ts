import type { AdminReply, AdminRoute } from "../common/admin-server.ts";
import type { FallbackReason } from "../common/reasons.ts";
import type {
  FallbacksReply,
  HealthReply,
  PeerReply,
  PeersReply,
  PodReply,
  PodsReply,
  ReportMessage,
  SessionReply,
  SessionsReply,
  StreamsReply,
  WhoamiReply,
} from "./api.ts";
import type { Reply } from "./api-server.ts";
import type { Broker } from "./broker.ts";
import { showChannels, type ChannelRouteDeps } from "./channels/routes.ts";
import { identityOf, type Catalog, type CatalogPod } from "./catalog.ts";
import type { AgentMetrics } from "./metrics.ts";
import { judge } from "./policy.ts";
import type { Session } from "./session.ts";

/** What replies are made of. */
export interface RouteDeps extends ChannelRouteDeps {
  readonly broker: Broker;
  readonly catalog: () => Catalog;
  readonly health: () => HealthReply;
  /** What the sidecar of a pod reported last. */
  readonly reportOf: (pod: string) => ReportMessage | undefined;
}

/** The node's pods, all of them or the one whose socket it is. */
type Scope = readonly CatalogPod[];

/**
 * The routes of one socket.
 *
 * @param pod - UID of the pod whose socket it is; `undefined` for the node-wide one.
 */
export function createRoutes(deps: RouteDeps, pod?: string): (path: string) => Reply | undefined {
  const views = viewsOf(deps, pod);
  return (path) => {
    const view = views.get(path);
    const shown = view === undefined ? showChannels(deps, pod, path) : view();
    if (shown === undefined) return undefined;
    return { contentType: "application/json", body: JSON.stringify(shown) };
  };
}

/** Views of the whole node that `shimmy top` asks for. */
const ADMIN_VIEWS = [
  "/v1/health",
  "/v1/pods",
  "/v1/sessions",
  "/v1/streams",
  "/v1/fallbacks",
  "/v1/channels",
];

/**
 * The paths of the agent's admin address: health, metrics and the table of the node. All of it is
 * read-only and names pods, services and counts; no payload, no grant can be had from it.
 */
export function createAdminRoutes(
  deps: RouteDeps,
  { registry }: AgentMetrics,
): Readonly<Record<string, AdminRoute>> {
  const views = viewsOf(deps, undefined);
  const routes = ADMIN_VIEWS.map((path): readonly [string, AdminRoute] => [
    path,
    () => ({ body: JSON.stringify(views.get(path)?.()) }),
  ]);
  return {
    "/healthz": () => plain(200, "ok"),
    // Degraded is ready: it serves from what was known before. One that knows nothing yet is not.
    "/readyz": () => {
      const { status, catalog } = deps.health();
      if (catalog.error !== undefined && catalog.pods === 0) return plain(503, catalog.error);
      return plain(200, status);
    },
    "/metrics": async () => ({
      contentType: registry.contentType,
      body: await registry.metrics(),
    }),
    ...Object.fromEntries(routes),
  };
}

function plain(status: number, text: string): AdminReply {
  return { status, contentType: "text/plain; charset=utf-8", body: `${text}\n` };
}

function viewsOf(deps: RouteDeps, pod: string | undefined): ReadonlyMap<string, () => unknown> {
  const scope = (): Scope => podsInScope(deps.catalog(), pod);
  return new Map<string, () => unknown>([
    ["/v1/health", deps.health],
    ["/v1/whoami", () => whoami(deps, pod)],
    ["/v1/pods", () => ({ pods: scope().map((each) => podReply(deps, each)) }) satisfies PodsReply],
    ["/v1/peers", () => peers(deps, scope())],
    ["/v1/sessions", () => sessions(deps, scope())],
    ["/v1/streams", () => streams(deps, scope())],
    ["/v1/fallbacks", () => fallbacks(deps, scope())],
    ["/v1/channels", () => showChannels(deps, pod, "/v1/channels")],
  ]);
}

/** The same routes and `/metrics`. */
export function withMetrics(
  routes: (path: string) => Reply | undefined,
  { registry }: AgentMetrics,
): (path: string) => Reply | Promise<Reply> | undefined {
  return (path) => {
    if (path !== "/metrics") return routes(path);
    return registry.metrics().then((body) => ({ contentType: registry.contentType, body }));
  };
}

function podsInScope({ pods, node }: Catalog, uid: string | undefined): Scope {
  return [...pods.values()].filter((pod) =>
    uid === undefined ? pod.node === node : pod.uid === uid,
  );
}

function whoami(deps: RouteDeps, uid: string | undefined): WhoamiReply {
  const { node, pods } = deps.catalog();
  const pod = uid === undefined ? undefined : pods.get(uid);
  if (pod === undefined) return { scope: "node", node };
  return { scope: "pod", node, pod: podReply(deps, pod) };
}

function podReply({ broker }: RouteDeps, pod: CatalogPod): PodReply {
  return {
    ...identityOf(pod),
    injected: pod.injected,
    connected: broker.isConnected(pod.uid),
    services: pod.services,
    appPorts: pod.appPorts,
    sessions: broker.sessionsOf(pod.uid).length,
  };
}

function peers(deps: RouteDeps, scope: Scope): PeersReply {
  const catalog = deps.catalog();
  const others = [...catalog.pods.values()];
  return {
    peers: scope.flatMap((pod) =>
      others
        .filter(({ uid }) => uid !== pod.uid)
        .map((peer) => ({ pod, peer, reply: peerReply(pod, peer, catalog) }))
        // A pod is not told of what lies in other namespaces and has nothing to do with it.
        .filter(({ peer, reply }) => peer.namespace === pod.namespace || hasGrants(reply))
        .map(({ reply }) => reply),
    ),
  };
}

function peerReply(pod: CatalogPod, peer: CatalogPod, catalog: Catalog): PeerReply {
  const outward = judge({ client: pod, server: peer }, catalog, "new");
  const inward = judge({ client: peer, server: pod }, catalog, "new");
  const common = {
    pod: pod.uid,
    peer: identityOf(peer),
    injected: peer.injected,
    accept: inward.grants,
    connect: outward.grants,
  };
  if (hasGrants(common)) return { ...common, transport: "shm" };
  // The direction in which there is a service to call says more.
  const reason = peer.services.length > 0 ? outward.reason : inward.reason;
  return { ...common, transport: "tcp", reason: reason ?? "policy_denied" };
}

function hasGrants({ accept, connect }: Pick<PeerReply, "accept" | "connect">): boolean {
  return accept.length + connect.length > 0;
}

function sessions({ broker }: RouteDeps, scope: Scope): SessionsReply {
  const unique = new Set(scope.flatMap(({ uid }) => broker.sessionsOf(uid)));
  return { sessions: [...unique].map(sessionReply) };
}

function sessionReply({ id, pair, since, isRevoked, isWhole, grants }: Session): SessionReply {
  const open = isWhole ? "open" : "half";
  return {
    id,
    ...pair,
    since: since.toISOString(),
    state: isRevoked ? "revoked" : open,
    initiatorGrants: grants.connect,
    responderGrants: grants.accept,
  };
}

function streams({ reportOf }: RouteDeps, scope: Scope): StreamsReply {
  return {
    streams: scope.flatMap(({ uid }) =>
      (reportOf(uid)?.streams ?? []).map((stream) => ({ pod: uid, ...stream })),
    ),
  };
}

function fallbacks({ reportOf }: RouteDeps, scope: Scope): FallbacksReply {
  return {
    fallbacks: scope.flatMap(({ uid }) =>
      Object.entries(reportOf(uid)?.fallbacks ?? {}).map(([reason, count]) => ({
        pod: uid,
        reason: reason as FallbackReason,
        count,
      })),
    ),
  };
}
