import type { FallbackReason } from "../common/reasons.ts";
import type { Backing, CatalogPod } from "./catalog.ts";

/** One kind of connection: from a pod to a port of another, as a backend of a service. */
export interface Connection {
  readonly client: CatalogPod;
  readonly server: CatalogPod;
  /** One of the server's. */
  readonly backing: Backing;
}

/** What policy says of a connection that may not leave TCP. */
export type PolicyReason = Extract<FallbackReason, "policy_denied" | "policy_unknown">;

/** Who may call whom, apart from what the two pods are. */
export interface ConnectionRules {
  /** Whether what the rules are made of is too old to grant anything new by it. */
  readonly isStale: boolean;
  /** Whether shared memory is switched off for a pod; streams that are open go on. */
  isOff(pod: CatalogPod): boolean;
  /** @returns Why the connection may not leave TCP, or `undefined` when it may. */
  check(connection: Connection): PolicyReason | undefined;
}

/** How a rule of a file is looked up: from a pod's UID to a service. */
export function ruleKey(podUid: string, service: string): string {
  return `${podUid} ${service}`;
}

/** The rules of a catalog file. */
export class FileRules implements ConnectionRules {
  readonly isStale = false;
  /** Connections across namespaces that are granted; see {@link ruleKey}. */
  readonly connections: ReadonlySet<string>;
  /** Connections that are denied; see {@link ruleKey}. */
  readonly deny: ReadonlySet<string>;

  constructor({ connections, deny }: Pick<FileRules, "connections" | "deny">) {
    this.connections = connections;
    this.deny = deny;
  }

  isOff(): boolean {
    return false;
  }

  check({ client, backing: { service } }: Connection): PolicyReason | undefined {
    const key = ruleKey(client.uid, service);
    if (this.deny.has(key)) return "policy_denied";
    if (service.startsWith(`${client.namespace}/`)) return undefined;
    return this.connections.has(key) ? undefined : "policy_denied";
  }
}
