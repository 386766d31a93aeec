import type { Grant, SessionSide } from "./api.ts";
import type { Fd } from "./native.ts";
import { joinGrants } from "./policy.ts";

/** Grants of a session, seen from its initiator. */
export interface SessionGrants {
  /** What the responder may open at the initiator. */
  readonly accept: readonly Grant[];
  /** What the initiator may open at the responder. */
  readonly connect: readonly Grant[];
}

/** Grants of nothing. */
export const NO_GRANTS: SessionGrants = { accept: [], connect: [] };

/** Two pods whose sidecars hold the ends of one socket. */
export interface SessionPair {
  /** UIDs. */
  readonly initiator: string;
  readonly responder: string;
}

/**
 * The agent's record of a session. It decides nothing and sends nothing: the broker does.
 *
 *   I1  at most one duplicate of the session's socket is held here, and only while the sidecar at
 *       that end is connected: a duplicate kept longer would hide the sidecar's death from its peer
 *   I2  a side is in `#seenAt` exactly while its sidecar is connected and has shown the session
 */
export class Session {
  readonly id: string;
  readonly pair: SessionPair;
  readonly since = new Date();
  grants: SessionGrants = NO_GRANTS;
  /** Cancels the shutdown that follows a revocation of all grants. */
  cancelShutdown: (() => void) | undefined;
  readonly #seenAt = new Map<string, number>();
  #absentSince: number | undefined;
  #end: { readonly holder: string; readonly fd: Fd } | undefined;

  constructor(id: string, pair: SessionPair) {
    this.id = id;
    this.pair = pair;
  }

  /** The same for both directions. */
  static keyOf({ initiator, responder }: SessionPair): string {
    return [initiator, responder].sort().join(" ");
  }

  get isRevoked(): boolean {
    return this.cancelShutdown !== undefined;
  }

  /** Whether both sides have shown it. */
  get isWhole(): boolean {
    return this.#seenAt.size === 2;
  }

  /** Whether the sidecar of `pod` is connected and has shown it. */
  isShownBy(pod: string): boolean {
    return this.#seenAt.has(pod);
  }

  /** Sides whose sidecars are connected and have shown it. */
  get shownBy(): readonly string[] {
    return [...this.#seenAt.keys()];
  }

  sideOf(pod: string): SessionSide {
    return pod === this.pair.initiator ? "initiator" : "responder";
  }

  peerOf(pod: string): string {
    return pod === this.pair.initiator ? this.pair.responder : this.pair.initiator;
  }

  /** The grants as `pod` sees them. */
  grantsFor(pod: string): SessionGrants {
    const { accept, connect } = this.grants;
    return pod === this.pair.initiator ? this.grants : { accept: connect, connect: accept };
  }

  /** The grants of both directions. */
  get allGrants(): Grant[] {
    return joinGrants(this.grants.accept, this.grants.connect);
  }

  /** Notes that a side has shown it; `now` in the broker's time. */
  show(pod: string, now: number): void {
    this.#seenAt.set(pod, now);
    this.#absentSince = this.isWhole ? undefined : (this.#absentSince ?? now);
  }

  /** Notes that a side's sidecar disconnected, and gives up the socket if it was that side's (I1). */
  hide(pod: string, now: number): void {
    this.#seenAt.delete(pod);
    this.#absentSince ??= now;
    if (this.#end?.holder === pod) this.release();
  }

  /** Takes a duplicate of one side's end, or closes it when there is one already (I1). */
  hold(pod: string, fd: Fd): void {
    if (this.#end === undefined) this.#end = { holder: pod, fd };
    else fd.close();
  }

  /** The duplicate held, if any. */
  get end(): Fd | undefined {
    return this.#end?.fd;
  }

  /** Closes the duplicate held. */
  release(): void {
    this.#end?.fd.close();
    this.#end = undefined;
  }

  /** Whether one side alone has stood for it longer than `limitMs`. */
  isOneSided(now: number, limitMs: number): boolean {
    if (this.#absentSince !== undefined) return now - this.#absentSince > limitMs;
    const ages = [...this.#seenAt.values()].map((seenAt) => now - seenAt);
    return Math.max(...ages) > limitMs && Math.min(...ages) <= limitMs;
  }
}
