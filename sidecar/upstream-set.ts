import type { ServiceEndpoints } from "../agent/api.ts";
import { messageOf, ShimmyError, toShimmyError } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import { errnoName } from "../shm-core/lib/status.ts";
import type { RelayListener } from "../shm-core/lib/relay.ts";
import { addressTable, buildTable, emptyTable, type UpstreamTable } from "./endpoints.ts";
import type { SidecarRelay } from "./native.ts";
import type { TransportCap, Upstream } from "./upstreams.ts";

/** Options for {@link UpstreamSet.bind}. */
export interface UpstreamSetOptions {
  readonly upstreams: readonly Upstream[];
  /** On which each upstream is served. */
  readonly addresses: readonly string[];
  readonly cap: TransportCap;
  readonly relay: Pick<SidecarRelay, "listen" | "setUpstream">;
  readonly log: Logger;
}

/** One upstream as it is now. */
export interface UpstreamState {
  readonly upstream: Upstream;
  readonly listeners: readonly RelayListener[];
  readonly current: UpstreamTable;
}

type Entry = { -readonly [K in keyof UpstreamState]: UpstreamState[K] } & { isResolved: boolean };

/**
 * The upstreams of the pod: their listeners, and where the connections of each go.
 *
 * What the agent said last stays in force while the agent is away.
 */
export class UpstreamSet {
  readonly #options: UpstreamSetOptions;
  readonly #entries: readonly Entry[];

  private constructor(options: UpstreamSetOptions, entries: readonly Entry[]) {
    this.#options = options;
    this.#entries = entries;
  }

  /**
   * Binds every upstream on every address. Until endpoints are known connections are refused.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE`, `SHIMMY_ERR_ADDRESS_NOT_AVAILABLE` or
   * `SHIMMY_ERR_SYSTEM` that names the upstream; IPv6 addresses are left out where IPv6 is off.
   */
  static bind(options: UpstreamSetOptions): UpstreamSet {
    const skipped = new Set<string>();
    const entries = options.upstreams.map((upstream): Entry => {
      const current = emptyTable(upstream, "the agent has not named its pods yet");
      const listeners = bindAll(upstream, current, options, skipped);
      return { upstream, listeners, current, isResolved: false };
    });
    for (const address of skipped) options.log.info({ address }, "IPv6 is off, address left out");
    return new UpstreamSet(options, entries);
  }

  /** The services to watch, each once. */
  get services(): readonly string[] {
    return [...new Set(this.#entries.map(({ upstream }) => upstream.service))];
  }

  /** Every upstream, in the order configured. */
  states(): readonly UpstreamState[] {
    return this.#entries;
  }

  /** Upstreams that neither the agent nor DNS has given an endpoint for. */
  unknown(): readonly Upstream[] {
    return this.#entries.filter(({ isResolved }) => !isResolved).map(({ upstream }) => upstream);
  }

  /** Takes what the agent says of services; those that are no upstreams are left aside. */
  setEndpoints(services: readonly ServiceEndpoints[]): void {
    for (const service of services) {
      for (const entry of this.#entries) {
        if (entry.upstream.service !== service.service) continue;
        this.#apply(entry, buildTable(entry.upstream, service, this.#options.cap));
        entry.isResolved = true;
      }
    }
  }

  /** Calls a service by address; the agent's word, once there is one, takes its place. */
  setAddresses(upstream: Upstream, port: number, addresses: readonly string[]): void {
    const entry = this.#entries.find((candidate) => candidate.upstream === upstream);
    if (entry === undefined || entry.isResolved) return;
    this.#apply(entry, addressTable(upstream.service, port, addresses));
  }

  /** Says why an upstream of which nothing is known cannot be called. */
  setProblem(upstream: Upstream, problem: string): void {
    const entry = this.#entries.find((candidate) => candidate.upstream === upstream);
    if (entry === undefined || entry.isResolved) return;
    this.#apply(entry, emptyTable(upstream, problem));
  }

  #apply(entry: Entry, next: UpstreamTable): void {
    const { problem: before } = entry.current;
    const ids = entry.listeners.map(({ id }) => id);
    try {
      this.#options.relay.setUpstream(ids, next.table);
    } catch (err) {
      const { service } = entry.upstream;
      this.#options.log.error({ upstream: service, problem: messageOf(err) }, "endpoints refused");
      return;
    }
    entry.current = next;
    if (next.problem !== before) this.#logProblem(entry.upstream, next);
  }

  #logProblem({ service: upstream }: Upstream, { problem, table }: UpstreamTable): void {
    const { log } = this.#options;
    if (problem === undefined) {
      log.info({ upstream, endpoints: table.endpoints.length }, "upstream can be called");
    } else {
      log.warn({ upstream, problem }, "upstream cannot be called");
    }
  }
}

function bindAll(
  upstream: Upstream,
  { table }: UpstreamTable,
  { addresses, relay }: UpstreamSetOptions,
  skipped: Set<string>,
): RelayListener[] {
  const listeners: RelayListener[] = [];
  for (const address of addresses) {
    try {
      listeners.push(relay.listen({ address, port: upstream.localPort, upstream: table }));
    } catch (err) {
      if (!address.includes(":") || !isFamilyOff(err)) throw explain(err, upstream);
      skipped.add(address);
    }
  }
  if (listeners.length > 0) return listeners;
  throw new ShimmyError(
    "SHIMMY_ERR_ADDRESS_NOT_AVAILABLE",
    `upstream ${upstream.service}: none of ${addresses.join(", ")} can be listened on, IPv6 is off`,
  );
}

/** EAFNOSUPPORT without the IPv6 module; EADDRNOTAVAIL where it is disabled by sysctl. */
function isFamilyOff(err: unknown): boolean {
  return ["EAFNOSUPPORT", "EADDRNOTAVAIL"].includes(errnoName(err) ?? "");
}

function explain(err: unknown, { service }: Upstream): ShimmyError {
  const { code, message } = toShimmyError(err);
  return new ShimmyError(code, `upstream ${service}: ${message}`, { cause: err });
}
