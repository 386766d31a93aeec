import type { Clock } from "../common/clock.ts";
import { messageOf } from "../common/errors.ts";
import type { UpstreamSet } from "./upstream-set.ts";
import type { Upstream } from "./upstreams.ts";

/** Options for {@link UnknownUpstreams}. */
export interface UnknownUpstreamsOptions {
  readonly upstreams: Pick<UpstreamSet, "unknown" | "setAddresses" | "setProblem">;
  /** Whether names of Services are in DNS. */
  readonly isDnsUsed: boolean;
  /** @returns Numeric addresses of a host name; throws when there are none. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  readonly clock: Clock;
}

const RETRY_MS = 10_000;

/**
 * Finds a way for upstreams of which no agent has told anything.
 *
 * In a cluster a Service's name leads to its virtual address, which serves plain TCP as it would
 * without Shimmy. The names of a local catalog lead nowhere, or to something else that happens to
 * be called so: there connections are refused until the agent is back.
 */
export class UnknownUpstreams {
  readonly #options: UnknownUpstreamsOptions;
  readonly #resolved = new Set<Upstream>();
  #cancelTimer: () => void = () => undefined;
  #isActive = false;

  constructor(options: UnknownUpstreamsOptions) {
    this.#options = options;
  }

  /** There is no agent: looks now, and every 10 s until {@link UnknownUpstreams.stop}. */
  start(): void {
    if (this.#isActive) return;
    this.#isActive = true;
    this.#cancelTimer = this.#options.clock.every(RETRY_MS, () => void this.#resolveAll());
    void this.#resolveAll();
  }

  /** The agent is there. What was found stays in force until the agent says otherwise. */
  stop(): void {
    this.#isActive = false;
    this.#cancelTimer();
  }

  async #resolveAll(): Promise<void> {
    const { upstreams } = this.#options;
    await Promise.all(upstreams.unknown().map((upstream) => this.#resolve(upstream)));
  }

  async #resolve(upstream: Upstream): Promise<void> {
    const { upstreams, isDnsUsed, resolve } = this.#options;
    const { port } = upstream;
    if (!isDnsUsed) {
      upstreams.setProblem(upstream, "the agent cannot be reached, and alone knows the pods");
      return;
    }
    if (typeof port !== "number") {
      const problem = "the agent cannot be reached; with ?port=NUMBER the Service's name would do";
      upstreams.setProblem(upstream, problem);
      return;
    }
    try {
      const addresses = await resolve(dnsName(upstream));
      if (!this.#isActive) return;
      upstreams.setAddresses(upstream, port, addresses);
      this.#resolved.add(upstream);
    } catch (err) {
      // An address found before is better than none.
      if (!this.#isActive || this.#resolved.has(upstream)) return;
      upstreams.setProblem(
        upstream,
        `the agent cannot be reached, nor the name: ${messageOf(err)}`,
      );
    }
  }
}

/** The cluster's search domains complete it. https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/ */
function dnsName({ service }: Upstream): string {
  const [namespace, name] = service.split("/");
  return `${name ?? ""}.${namespace ?? ""}.svc`;
}
