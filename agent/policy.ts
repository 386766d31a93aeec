import type { FallbackReason } from "../common/reasons.ts";
import type { Grant } from "./api.ts";
import { MAX_GRANTS } from "./api-limits.ts";
import { ruleKey, type Catalog, type CatalogPod, type CatalogService } from "./catalog.ts";

/** May `client` open connections to `server` as a backend of `service`? */
export interface Question {
  readonly client: CatalogPod;
  readonly server: CatalogPod;
  readonly service: CatalogService;
  readonly catalog: Catalog;
}

type Check = (question: Question) => FallbackReason | undefined;

/** Run in this order; the first reason wins. docs/reference/reasons.md explains them to users. */
const CHECKS: readonly Check[] = [
  // A pod that calls itself needs nobody in between; its sidecar would be both ends of a session.
  ({ client, server }) => (client.uid === server.uid ? "disabled" : undefined),
  ({ client, server }) => (client.injected && server.injected ? undefined : "peer_not_injected"),
  ({ client, service, catalog }) =>
    catalog.deny.has(ruleKey(client.uid, service.key)) ? "policy_denied" : undefined,
  ({ client, service, catalog }) =>
    client.namespace === service.namespace ||
    catalog.connections.has(ruleKey(client.uid, service.key))
      ? undefined
      : "policy_denied",
  ({ client, server }) => (client.node === server.node ? undefined : "other_node_no_fabric"),
];

/**
 * Decides, without side effects, how a connection travels.
 *
 * @returns Why it goes over TCP, or `undefined` when it may use shared memory.
 */
export function decide(question: Question): FallbackReason | undefined {
  for (const check of CHECKS) {
    const reason = check(question);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** What one pod may open at another. */
export interface Verdict {
  /** Sorted by service and port; at most 128. */
  readonly grants: readonly Grant[];
  /** Why there is none; present exactly when `grants` is empty. */
  readonly reason?: FallbackReason;
}

/** Decides what `client` may open at `server`, over all the services that `server` backs. */
export function judge(client: CatalogPod, server: CatalogPod, catalog: Catalog): Verdict {
  const grants: Grant[] = [];
  let firstReason: FallbackReason | undefined;
  for (const key of server.services) {
    const service = catalog.services.get(key);
    if (service === undefined) continue;
    const reason = decide({ client, server, service, catalog });
    firstReason ??= reason;
    if (reason === undefined) grants.push(...grantsOf(service));
  }
  if (grants.length > 0) return { grants: grants.slice(0, MAX_GRANTS) };
  // A pod behind no service is one that nothing allows to be called.
  return { grants: [], reason: firstReason ?? "policy_denied" };
}

/** Those of `before` that are not in `after`. */
export function withoutGrants(before: readonly Grant[], after: readonly Grant[]): Grant[] {
  const kept = new Set(after.map(grantKey));
  return before.filter((grant) => !kept.has(grantKey(grant)));
}

/**
 * Those of `before` that `after` has fewer times: one that is in both directions' grants is twice in
 * a list of both.
 */
export function lostGrants(before: readonly Grant[], after: readonly Grant[]): Grant[] {
  const left = after.map(grantKey);
  return before.filter((grant) => {
    const index = left.indexOf(grantKey(grant));
    if (index < 0) return true;
    left.splice(index, 1);
    return false;
  });
}

/** Both lists, each grant once. */
export function joinGrants(left: readonly Grant[], right: readonly Grant[]): Grant[] {
  return [...left, ...withoutGrants(right, left)];
}

function grantsOf({ key, ports }: CatalogService): Grant[] {
  const targetPorts = [...new Set(ports.map(({ targetPort }) => targetPort))];
  return targetPorts.sort((a, b) => a - b).map((port) => ({ service: key, port }));
}

function grantKey({ service, port }: Grant): string {
  return `${service}:${port}`;
}
