// One of several processes leads, by a Lease that it renews.
//
//   I1  whether another's lease has run out is judged by how long its record has not changed here,
//       by the local clock that never goes back; the times written in it are not looked at
//   I2  the leader counts its time from before it asked for a renewal, and gives up earlier than
//       others may take over
//   I3  every write names the version it was based on, so that of two writers one fails
//
// There is no fencing: a leader that was stopped may still have a request under way. What leaders
// write must therefore be right whoever writes it.
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { KubernetesApi } from "./api-client.ts";
import { ApiError } from "./api-error.ts";
import type { KubernetesObject } from "./objects.ts";
import { RESOURCES, resourcePath } from "./resources.ts";

/** Times of an election; the same as those of Kubernetes' own controllers. */
export interface ElectionTimes {
  /** After so long without a renewal others take over. */
  readonly leaseMs: number;
  /** After so long without a renewal the leader stops; less than the above. */
  readonly renewMs: number;
  /** Time between attempts. */
  readonly retryMs: number;
}

/** What a {@link LeaderElector} uses when nothing else is given. */
export const ELECTION_TIMES: ElectionTimes = { leaseMs: 15_000, renewMs: 10_000, retryMs: 2000 };

/** Options for {@link LeaderElector}. */
export interface LeaderElectorOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** Another for each process, also for one that takes the place of another. */
  readonly identity: string;
  readonly onLeading: () => void;
  /** Called once when another may lead from now on; not after {@link LeaderElector.close}. */
  readonly onLost: () => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** Time of day, for people who read the Lease. @defaultValue the system's */
  readonly wallClock?: () => Date;
  readonly times?: ElectionTimes;
}

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

interface Lease extends KubernetesObject {
  readonly spec?: LeaseSpec;
}

/** Takes part in the election for one Lease. */
export class LeaderElector {
  readonly #options: LeaderElectorOptions;
  readonly #times: ElectionTimes;
  readonly #path: string;
  /** The lease as it was seen last, and when it was seen to change. */
  #seen: { lease: Lease; changedAt: number } | undefined;
  #renewedAt = Number.NEGATIVE_INFINITY;
  #wasLeading = false;
  #isClosed = false;
  #isBusy = false;
  #underWay: Promise<void> = Promise.resolve();
  #cancel: () => void = () => undefined;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#times = options.times ?? ELECTION_TIMES;
    const { namespace, name } = options;
    this.#path = resourcePath(RESOURCES.leases, { namespace, name });
  }

  /** Whether this process leads; right also after the process was stopped for a while. */
  get isLeading(): boolean {
    const { clock } = this.#options;
    return (
      !this.#isClosed && this.#wasLeading && clock.now() - this.#renewedAt < this.#times.renewMs
    );
  }

  /** Who leads, as far as is known. */
  get leader(): string | undefined {
    return this.#seen?.lease.spec?.holderIdentity;
  }

  /** Begins to take part. */
  start(): void {
    this.#tick();
    const { clock } = this.#options;
    const endAttempts = clock.every(this.#times.retryMs, () => {
      this.#tick();
    });
    // Apart from attempts: one of them may hang.
    const endChecks = clock.every(this.#times.retryMs / 4, () => {
      this.#checkLost();
    });
    this.#cancel = () => {
      endAttempts();
      endChecks();
    };
  }

  /** Takes no part any more; a leader gives the lease up, so that another leads at once. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    const wasLeading = this.isLeading;
    this.#isClosed = true;
    this.#cancel();
    await this.#underWay;
    if (!wasLeading) return;
    try {
      await this.#release();
    } catch (err) {
      this.#options.log.warn({ error: messageOf(err) }, "lease not given up");
    }
  }

  #tick(): void {
    if (this.#isBusy || this.#isClosed) return;
    this.#isBusy = true;
    this.#underWay = this.#attempt()
      .catch((err: unknown) => {
        // Somebody else was faster: the next attempt looks again.
        const level = err instanceof ApiError && err.status === 409 ? "debug" : "warn";
        this.#options.log[level]({ error: messageOf(err) }, "lease not renewed");
      })
      .finally(() => {
        this.#isBusy = false;
      });
  }

  async #attempt(): Promise<void> {
    const { clock, identity } = this.#options;
    const askedAt = clock.now(); // I2
    const lease = await this.#read();
    if (lease === undefined) {
      this.#observe(await this.#create());
    } else {
      this.#observe(lease);
      if (!this.#mayTake(lease)) {
        this.#standBack();
        return;
      }
      this.#observe(await this.#write(lease, this.#claim(lease)));
    }
    if (this.#isClosed || this.leader !== identity) return;
    this.#renewedAt = askedAt;
    this.#checkLost();
    if (this.#wasLeading || !this.#isRecent()) return;
    this.#wasLeading = true;
    this.#options.log.info({ lease: this.#options.name, identity }, "leading");
    this.#options.onLeading();
  }

  /** Somebody else holds the lease, also if this process believes to lead. */
  #standBack(): void {
    this.#renewedAt = Number.NEGATIVE_INFINITY;
    this.#checkLost();
  }

  /** I1 */
  #mayTake({ spec = {} }: Lease): boolean {
    const { holderIdentity = "", leaseDurationSeconds = 0 } = spec;
    if (holderIdentity === "" || holderIdentity === this.#options.identity) return true;
    const changedAt = this.#seen?.changedAt ?? Number.POSITIVE_INFINITY;
    const leaseMs = Math.max(this.#times.leaseMs, leaseDurationSeconds * 1000);
    return this.#options.clock.now() - changedAt >= leaseMs;
  }

  #observe(lease: Lease): void {
    const version = lease.metadata.resourceVersion;
    if (this.#seen?.lease.metadata.resourceVersion === version) return;
    this.#seen = { lease, changedAt: this.#options.clock.now() };
  }

  #isRecent(): boolean {
    return this.#options.clock.now() - this.#renewedAt < this.#times.renewMs;
  }

  #checkLost(): void {
    if (!this.#wasLeading || this.#isClosed || this.#isRecent()) return;
    this.#wasLeading = false;
    this.#isClosed = true;
    this.#cancel();
    this.#options.log.error({ lease: this.#options.name }, "leadership lost");
    this.#options.onLost();
  }

  #claim({ spec = {} }: Lease): LeaseSpec {
    const isHeld = spec.holderIdentity === this.#options.identity;
    const now = microTime(this.#wallTime());
    return {
      ...spec,
      holderIdentity: this.#options.identity,
      leaseDurationSeconds: Math.ceil(this.#times.leaseMs / 1000),
      renewTime: now,
      acquireTime: isHeld ? (spec.acquireTime ?? now) : now,
      leaseTransitions: (spec.leaseTransitions ?? 0) + (isHeld ? 0 : 1),
    };
  }

  async #read(): Promise<Lease | undefined> {
    try {
      const timeoutMs = this.#times.renewMs / 2;
      return (await this.#options.api.request({ path: this.#path, timeoutMs })) as Lease;
    } catch (err) {
      if (err instanceof ApiError && err.status === 404) return undefined;
      throw err;
    }
  }

  async #create(): Promise<Lease> {
    const { namespace, name } = this.#options;
    const metadata = { name, namespace };
    const { apiVersion, kind } = RESOURCES.leases;
    return (await this.#options.api.request({
      method: "POST",
      path: resourcePath(RESOURCES.leases, { namespace }),
      body: { apiVersion, kind, metadata, spec: this.#claim({ metadata }) },
      timeoutMs: this.#times.renewMs / 2,
    })) as Lease;
  }

  /** I3: the body has the version that was read. */
  async #write(lease: Lease, spec: LeaseSpec): Promise<Lease> {
    return (await this.#options.api.request({
      method: "PUT",
      path: this.#path,
      body: { ...lease, spec },
      timeoutMs: this.#times.renewMs / 2,
    })) as Lease;
  }

  async #release(): Promise<void> {
    const lease = this.#seen?.lease;
    if (lease?.spec?.holderIdentity !== this.#options.identity) return;
    const spec = { ...lease.spec, holderIdentity: "", renewTime: microTime(this.#wallTime()) };
    await this.#write(lease, { ...spec, leaseDurationSeconds: 1 });
  }

  #wallTime(): Date {
    return this.#options.wallClock?.() ?? new Date();
  }
}

/** MicroTime of the API: always six digits. */
function microTime(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}
