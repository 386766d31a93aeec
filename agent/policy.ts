import type { FallbackReason } from "../common/reasons.ts";
import type { Grant } from "./api.ts";
import { MAX_GRANTS } from "./api-limits.ts";
import type { Catalog } from "./catalog.ts";
import type { Connection } from "./catalog-rules.ts";

/**
 * What an answer is for.
 *
 *   new   a stream or session that does not exist yet
 *   held  a session that exists: what is switched off, or cannot be looked up just now, is no reason
 *         to take it away
 */
export type Purpose = "new" | "held";

/** May `client` open connections to `server` as a backend of a service? */
export interface Question extends Connection {
  readonly catalog: Catalog;
}

interface Check {
  readonly isForNewOnly?: true;
  readonly reason: (question: Question) => FallbackReason | undefined;
}

/** Run in this order; the first reason wins. docs/reference/reasons.md explains them to users. */
const CHECKS: readonly Check[] = [
  // A pod that calls itself needs nobody in between; its sidecar would be both ends of a session.
  { reason: ({ client, server }) => (client.uid === server.uid ? "disabled" : undefined) },
  {
    reason: ({ client, server }) =>
      client.injected && server.injected ? undefined : "peer_not_injected",
  },
  {
    isForNewOnly: true,
    reason: ({ client, server, catalog: { rules } }) =>
      rules.isOff(client) || rules.isOff(server) ? "disabled" : undefined,
  },
  { reason: (question) => question.catalog.rules.check(question) },
  {
    reason: ({ client, server }) =>
      client.node === server.node ? undefined : "other_node_no_fabric",
  },
  {
    isForNewOnly: true,
    reason: ({ catalog }) => (catalog.rules.isStale ? "policy_unknown" : undefined),
  },
  // Its sidecar delivers to these ports only; asking it for another would cost a round trip.
  {
    reason: ({ server, backing }) =>
      server.appPorts.includes(backing.port) ? undefined : "peer_refused",
  },
];

/**
 * Decides, without side effects, how a connection travels.
 *
 * @returns Why it goes over TCP, or `undefined` when it may use shared memory.
 */
export function decide(question: Question, purpose: Purpose): FallbackReason | undefined {
  for (const { isForNewOnly = false, reason } of CHECKS) {
    if (isForNewOnly && purpose === "held") continue;
    const found = reason(question);
    if (found !== undefined) return found;
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
export function judge(
  { client, server }: Pick<Connection, "client" | "server">,
  catalog: Catalog,
  purpose: Purpose,
): Verdict {
  const grants: Grant[] = [];
  let firstReason: FallbackReason | undefined;
  for (const backing of server.backings) {
    const reason = decide({ client, server, backing, catalog }, purpose);
    firstReason ??= reason;
    if (reason === undefined) grants.push({ service: backing.service, port: backing.port });
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

function grantKey({ service, port }: Grant): string {
  return `${service}:${port}`;
}
