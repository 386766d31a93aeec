import { messageOf } from "../common/errors.ts";
import type { Clock } from "../common/clock.ts";
import type { Logger } from "../common/log.ts";
import { REVOKE_GRACE_MS, type AgentMessage } from "./api.ts";
import { identityOf, type Catalog, type CatalogPod } from "./catalog.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { AgentNative } from "./native.ts";
import { joinGrants, judge, withoutGrants, type Verdict } from "./policy.ts";
import { SessionTable } from "./session-table.ts";
import { NO_GRANTS, type Session, type SessionGrants } from "./session.ts";

/** What a {@link SessionRegistry} works with. */
export interface SessionRegistryDeps {
  readonly native: Pick<AgentNative, "shutdown">;
  readonly clock: Clock;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
  /** Tells the sidecar of a pod, if it is connected. */
  readonly tell: (pod: string, message: AgentMessage) => void;
}

/** A session that one side alone stands for is closed after this time. */
const ONE_SIDED_LIMIT_MS = 30_000;

/**
 * The sessions known and their grants, from the first to the last moment of each.
 *
 *   I1  grants are those of the present catalog, for every session
 *   I2  a session without grants is shut down REVOKE_GRACE_MS after its `revoke` at the latest
 */
export class SessionRegistry {
  readonly table = new SessionTable();
  readonly #deps: SessionRegistryDeps;
  #catalog: Catalog;

  constructor(catalog: Catalog, deps: SessionRegistryDeps) {
    this.#catalog = catalog;
    this.#deps = deps;
  }

  /** The catalog that sessions are judged by. */
  get catalog(): Catalog {
    return this.#catalog;
  }

  /** Judges every session by a new catalog (I1). */
  setCatalog(catalog: Catalog): void {
    const before = this.#catalog;
    this.#catalog = catalog;
    for (const session of this.table.all()) {
      const isRenamed = [session.pair.initiator, session.pair.responder].some((pod) =>
        hasNewIdentity(before.pods.get(pod), catalog.pods.get(pod)),
      );
      // What each side was told of the other is not true any more; a new session says it anew.
      if (isRenamed) this.close(session);
      else this.#judgeAgain(session);
    }
  }

  /** What the present catalog grants a session. */
  grantsOf({ pair }: Session): SessionGrants {
    const initiator = this.#catalog.pods.get(pair.initiator);
    const responder = this.#catalog.pods.get(pair.responder);
    if (initiator === undefined || responder === undefined) return NO_GRANTS;
    return {
      accept: this.#grants(responder, initiator),
      connect: this.#grants(initiator, responder),
    };
  }

  /** Gives both sides time to act on a `revoke` before the session is shut down (I2). */
  revokeLater(session: Session): void {
    this.#deps.log.info({ session: session.id, ...session.pair }, "session revoked");
    session.cancelShutdown ??= this.#deps.clock.after(REVOKE_GRACE_MS, () => {
      this.#deps.metrics.sessionEnds.inc({ reason: "revoked" });
      this.close(session);
    });
  }

  /** A side's sidecar is not connected any more. */
  hide(session: Session, pod: string): void {
    // The duplicate that would do it later goes with the side (I2).
    if (session.isRevoked) this.shutDown(session);
    session.hide(pod, this.#deps.clock.now());
    if (session.shownBy.length === 0) this.forget(session);
  }

  /** Ends a session for both sides. */
  close(session: Session): void {
    this.shutDown(session);
    this.#tellBoth(session, () => ({ type: "sessionClosed", session: session.id }));
    this.forget(session);
  }

  /** Ends a session's socket, if a duplicate of it is held. */
  shutDown(session: Session): void {
    if (session.end === undefined) return;
    try {
      this.#deps.native.shutdown(session.end);
    } catch (err) {
      // Adopted from a client: it may be a socket that is not connected any more.
      this.#deps.log.debug({ session: session.id, problem: messageOf(err) }, "shutdown failed");
    }
  }

  /** Lets go of a session, which goes on between its sides. */
  forget(session: Session): void {
    session.cancelShutdown?.();
    session.release();
    this.table.remove(session);
  }

  /** Closes sessions that one side alone has stood for too long. */
  sweep(): void {
    const now = this.#deps.clock.now();
    for (const session of this.table.all()) {
      if (!session.isOneSided(now, ONE_SIDED_LIMIT_MS)) continue;
      this.#deps.log.info({ session: session.id, ...session.pair }, "one-sided session closed");
      this.#deps.metrics.sessionEnds.inc({ reason: "peer_gone" });
      this.close(session);
    }
  }

  #grants(client: CatalogPod, server: CatalogPod): Verdict["grants"] {
    return judge({ client, server }, this.#catalog, "held").grants;
  }

  #judgeAgain(session: Session): void {
    if (session.isRevoked) return;
    const before = session.grants;
    const after = this.grantsOf(session);
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    session.grants = after;
    const { id } = session;
    // By direction, so that a service that both pods back is not kept by the other direction's grant.
    const lost = joinGrants(
      withoutGrants(before.accept, after.accept),
      withoutGrants(before.connect, after.connect),
    );
    if (lost.length > 0) {
      this.#tellBoth(session, () => ({ type: "revoke", session: id, grants: lost }));
    }
    if (session.allGrants.length > 0) {
      this.#tellBoth(session, (pod) => ({
        type: "grants",
        session: id,
        ...session.grantsFor(pod),
      }));
    } else {
      this.revokeLater(session);
    }
  }

  #tellBoth(session: Session, message: (pod: string) => AgentMessage): void {
    for (const pod of session.shownBy) this.#deps.tell(pod, message(pod));
  }
}

function hasNewIdentity(before: CatalogPod | undefined, after: CatalogPod | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  return JSON.stringify(identityOf(before)) !== JSON.stringify(identityOf(after));
}
