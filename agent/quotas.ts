import type { Clock } from "../common/clock.ts";

/** A rate that may be exceeded for a moment. */
export interface Rate {
  readonly perSecond: number;
  /** How many at once, after a pause. */
  readonly burst: number;
}

/** Bounds on what one pod may ask of the agent. */
export interface Quotas {
  /** Sessions a pod takes part in. */
  readonly sessionsPerPod: number;
  /** `openSession` and `adopt`; beyond it the answer is reason `quota`, or `sessionClosed`. */
  readonly sessionRequests: Rate;
  /** Messages of any type, one for each 4 KiB begun; beyond it the connection ends. */
  readonly messages: Rate;
  /** HTTP requests; beyond it the answer is 429. */
  readonly httpRequests: Rate;
  /** Open connections to each of a pod's sockets. */
  readonly connectionsPerSocket: number;
  /** Those of them that may be processes which attach channels. */
  readonly channelProcessesPerPod: number;
  /** Channels that a pod made, by request or by attaching first. */
  readonly channelsPerPod: number;
  readonly attachmentsPerPod: number;
  /** Regions of channels that a pod has lodged. */
  readonly channelRegionsPerPod: number;
  /** Bytes of those regions. */
  readonly channelBytesPerPod: number;
  /** `attachChannel` and `reattachChannel`. */
  readonly channelRequests: Rate;
}

/** Far above what a sidecar needs, far below what would keep other pods waiting. */
export const DEFAULT_QUOTAS: Quotas = {
  sessionsPerPod: 1024,
  // After a new connection a sidecar adopts all its sessions at once.
  sessionRequests: { perSecond: 100, burst: 2048 },
  messages: { perSecond: 500, burst: 4096 },
  httpRequests: { perSecond: 50, burst: 100 },
  connectionsPerSocket: 32,
  // The rest are for the sidecar, one that takes its place, and people.
  channelProcessesPerPod: 24,
  channelsPerPod: 64,
  attachmentsPerPod: 256,
  channelRegionsPerPod: 1024,
  channelBytesPerPod: 2 * 1024 ** 3,
  channelRequests: { perSecond: 50, burst: 512 },
};

/** Lets a rate through: a bucket of tokens that fills again with time. */
export class TokenBucket {
  readonly #rate: Rate;
  readonly #clock: Clock;
  #tokens: number;
  #filledAt: number;

  constructor(rate: Rate, clock: Clock) {
    this.#rate = rate;
    this.#clock = clock;
    this.#tokens = rate.burst;
    this.#filledAt = clock.now();
  }

  /** @returns Whether so much more is within the rate; it is counted if so. */
  take(cost = 1): boolean {
    const now = this.#clock.now();
    const earned = ((now - this.#filledAt) / 1000) * this.#rate.perSecond;
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + earned);
    this.#filledAt = now;
    if (this.#tokens < cost) return false;
    this.#tokens -= cost;
    return true;
  }
}
