import { randomBytes } from "node:crypto";

import { messageOf } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import type { FallbackReason, SessionEndReason } from "../common/reasons.ts";
import {
  REVOKE_GRACE_MS,
  type AdoptMessage,
  type AgentMessage,
  type Grant,
  type PodIdentity,
} from "./api.ts";
import type { Catalog, CatalogPod } from "./catalog.ts";
import type { Clock } from "./clock.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { AgentNative, Fd } from "./native.ts";
import { joinGrants, judge, withoutGrants } from "./policy.ts";
import { TokenBucket, type Quotas } from "./quotas.ts";
import { SessionTable } from "./session-table.ts";
import { NO_GRANTS, Session, type SessionGrants, type SessionPair } from "./session.ts";

/** A sidecar that has said hello. */
export interface BrokerMember {
  /** UID of its pod. */
  readonly pod: string;
  /** Whether it can be sent descriptors. */
  readonly canPassFds: boolean;
  /** @returns `false` when it could not be sent because the connection is over or the kernel refused. */
  send(message: AgentMessage, fds?: readonly Fd[]): boolean;
}

/** What the {@link Broker} works with. */
export interface BrokerDeps {
  readonly native: Pick<AgentNative, "socketPair" | "shutdown" | "isSessionSocket" | "discard">;
  readonly clock: Clock;
  readonly quotas: Quotas;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

/** A session that one side alone stands for is closed after this time. */
const ONE_SIDED_LIMIT_MS = 30_000;
/** Unknown sessions that one report is answered about; the next report names the rest again. */
const MAX_UNKNOWN_ANSWERED = 64;

type Refusal = readonly [reason: FallbackReason, message: string];

/**
 * Introduces sidecars to each other: one session per pair of pods, granted by policy, revoked when
 * policy changes. It is not in the data path; a session outlives the broker.
 *
 *   I1  at most one session per pair of pods
 *   I2  grants are those of the present catalog, for every session
 *   I3  a session without grants is shut down REVOKE_GRACE_MS after its `revoke` at the latest
 */
export class Broker {
  readonly #deps: BrokerDeps;
  readonly #members = new Map<string, BrokerMember>();
  readonly #sessions = new SessionTable();
  readonly #requests = new Map<string, TokenBucket>();
  #catalog: Catalog;

  constructor(catalog: Catalog, deps: BrokerDeps) {
    this.#catalog = catalog;
    this.#deps = deps;
  }

  /** Every session known, oldest first. */
  sessions(): readonly Session[] {
    return this.#sessions.all();
  }

  /** Sessions that a pod takes part in. */
  sessionsOf(pod: string): readonly Session[] {
    return this.#sessions.of(pod);
  }

  /** Whether the sidecar of a pod is connected. */
  isConnected(pod: string): boolean {
    return this.#members.has(pod);
  }

  /** How many sidecars are connected. */
  get memberCount(): number {
    return this.#members.size;
  }

  /** A sidecar said hello. The one before it, of the same pod, must have left. */
  join(member: BrokerMember): void {
    this.#members.set(member.pod, member);
  }

  /** A sidecar's connection is over; its sessions wait for it to come back. */
  leave(member: BrokerMember): void {
    if (this.#members.get(member.pod) !== member) return;
    this.#members.delete(member.pod);
    for (const session of this.sessionsOf(member.pod)) {
      // The duplicate that would do it later goes with the member.
      if (session.isRevoked) this.#shutDown(session);
      session.hide(member.pod, this.#deps.clock.now());
      if (session.shownBy.length === 0) this.#forget(session);
    }
  }

  /** A sidecar asks for the session with a pod. */
  open(member: BrokerMember, request: number, target: string): void {
    const outcome = this.#open(member, request, target);
    if (outcome === undefined) return;
    const [reason, message] = outcome;
    this.#deps.metrics.sessionRequests.inc({ result: reason });
    // Counted, but not a line each: a client asks as often as it likes.
    this.#deps.log.debug({ pod: member.pod, peer: target, reason }, "session refused");
    member.send({ type: "sessionRefused", request, pod: target, reason, message });
  }

  /** A sidecar shows a session that it had before it connected, with a duplicate of its end. */
  adopt(member: BrokerMember, message: AdoptMessage, fd: Fd): void {
    const problem = this.#adopt(member, message, fd);
    if (problem === undefined) return;
    this.#deps.native.discard(fd);
    this.#deps.metrics.adoptions.inc({ result: "refused" });
    this.#deps.log.warn(
      { pod: member.pod, session: message.session, problem },
      "session not adopted",
    );
    member.send({ type: "sessionClosed", session: message.session });
  }

  /** A sidecar says that a session is over. */
  ended(member: BrokerMember, id: string, reason: SessionEndReason): void {
    const session = this.#sessions.get(id);
    if (session === undefined || !session.isShownBy(member.pod)) return;
    this.#deps.log.info({ session: id, pod: member.pod, reason }, "session ended");
    this.#deps.metrics.sessionEnds.inc({ reason });
    this.#shutDown(session);
    session.hide(member.pod, this.#deps.clock.now());
    this.#close(session);
  }

  /** A sidecar names the sessions it holds. */
  report(member: BrokerMember, ids: readonly string[]): void {
    const unknown: string[] = [];
    for (const id of ids) {
      const session = this.#sessions.get(id);
      if (session?.isShownBy(member.pod) === true) session.show(member.pod, this.#deps.clock.now());
      else unknown.push(id);
    }
    // It may have been closed while the report was on its way; saying so twice does no harm.
    for (const session of unknown.slice(0, MAX_UNKNOWN_ANSWERED)) {
      member.send({ type: "sessionClosed", session });
    }
  }

  /** Judges every session by a new catalog. */
  setCatalog(catalog: Catalog): void {
    const before = this.#catalog;
    this.#catalog = catalog;
    for (const pod of this.#requests.keys()) {
      if (!catalog.pods.has(pod)) this.#requests.delete(pod);
    }
    for (const session of this.sessions()) {
      const isRenamed = [session.pair.initiator, session.pair.responder].some((pod) =>
        hasNewIdentity(before.pods.get(pod), catalog.pods.get(pod)),
      );
      // What each side was told of the other is not true any more; a new session says it anew.
      if (isRenamed) this.#close(session);
      else this.#judgeAgain(session);
    }
  }

  /** Closes sessions that one side alone has stood for too long; call it every few seconds. */
  sweep(): void {
    const now = this.#deps.clock.now();
    for (const session of this.sessions()) {
      if (!session.isOneSided(now, ONE_SIDED_LIMIT_MS)) continue;
      this.#deps.log.info({ session: session.id, ...session.pair }, "one-sided session closed");
      this.#deps.metrics.sessionEnds.inc({ reason: "peer_gone" });
      this.#close(session);
    }
  }

  /** Lets go of everything held; sessions stay open between their sidecars. */
  stop(): void {
    for (const session of this.sessions()) this.#forget(session);
  }

  #open(member: BrokerMember, request: number, target: string): Refusal | undefined {
    if (!this.#requestsOf(member.pod).take()) return ["quota", "too many session requests"];
    const client = this.#catalog.pods.get(member.pod);
    const server = this.#catalog.pods.get(target);
    if (client === undefined || server === undefined) {
      return ["peer_not_injected", `no pod with uid ${target} is known`];
    }
    const { reason } = judge(client, server, this.#catalog);
    if (reason !== undefined) return [reason, `nothing of pod ${target} may be called`];
    if (this.#answerWithExisting(member, request, target)) return undefined;
    return this.#introduce(member, request, { client, server });
  }

  #answerWithExisting(member: BrokerMember, request: number, target: string): boolean {
    const session = this.#sessions.between(member.pod, target);
    if (session === undefined) return false;
    if (session.isRevoked || !session.isShownBy(member.pod)) {
      // One that is being revoked, or that the sidecar lost with its process: start anew (I1).
      this.#close(session);
      return false;
    }
    const peer = this.#catalog.pods.get(target);
    if (peer === undefined) return false;
    this.#deps.metrics.sessionRequests.inc({ result: "existing" });
    member.send({ request, ...this.#describe(session, member.pod, peer) });
    return true;
  }

  #introduce(
    member: BrokerMember,
    request: number,
    { client, server }: { client: CatalogPod; server: CatalogPod },
  ): Refusal | undefined {
    const other = this.#members.get(server.uid);
    if (other === undefined) return ["agent_unavailable", "the peer's sidecar is not connected"];
    if (!member.canPassFds || !other.canPassFds) {
      return ["fd_passing_refused", "a sidecar cannot receive descriptors"];
    }
    const limit = this.#deps.quotas.sessionsPerPod;
    const full = [client, server].find(({ uid }) => this.#sessions.countOf(uid) >= limit);
    if (full !== undefined) return ["quota", `pod ${full.uid} has ${limit} sessions`];
    const ends = this.#makeEnds();
    if (ends === undefined) return ["quota", "the node is out of descriptors"];

    const [mine, theirs] = ends;
    const session = new Session(newSessionId(), { initiator: client.uid, responder: server.uid });
    session.grants = this.#grantsOf(session);
    const sent =
      other.send(this.#describe(session, other.pod, client), [theirs]) &&
      member.send({ request, ...this.#describe(session, member.pod, server) }, [mine]);
    theirs.close();
    if (!sent) {
      mine.close();
      other.send({ type: "sessionClosed", session: session.id });
      return ["agent_unavailable", "a sidecar could not be sent its end"];
    }
    this.#sessions.add(session);
    for (const pod of [client.uid, server.uid]) session.show(pod, this.#deps.clock.now());
    session.hold(member.pod, mine);
    this.#deps.metrics.sessionRequests.inc({ result: "granted" });
    this.#deps.log.info({ session: session.id, ...session.pair }, "session opened");
    return undefined;
  }

  #makeEnds(): [Fd, Fd] | undefined {
    try {
      return this.#deps.native.socketPair();
    } catch (err) {
      this.#deps.log.error({ err }, "no socket for a session");
      return undefined;
    }
  }

  #describe(session: Session, pod: string, peer: CatalogPod): AgentMessage & { type: "session" } {
    const { accept, connect } = session.grantsFor(pod);
    const side = session.sideOf(pod);
    return { type: "session", session: session.id, side, peer: identityOf(peer), accept, connect };
  }

  /** @returns Why it is refused; `fd` is then still the caller's. */
  #adopt(member: BrokerMember, message: AdoptMessage, fd: Fd): string | undefined {
    const { session: id, peer, side, held } = message;
    const pair =
      side === "initiator"
        ? { initiator: member.pod, responder: peer }
        : { initiator: peer, responder: member.pod };
    if (peer === member.pod) return "a pod has no session with itself";
    if (!this.#deps.native.isSessionSocket(fd)) return "not a socket of a session";
    const known = this.#sessions.get(id);
    const problem =
      known === undefined ? this.#checkNew(pair) : checkKnown(known, pair, member.pod);
    if (problem !== undefined) return problem;

    const session = known ?? new Session(id, pair);
    if (known === undefined) this.#sessions.add(session);
    session.show(member.pod, this.#deps.clock.now());
    session.hold(member.pod, fd);
    this.#deps.metrics.adoptions.inc({ result: "adopted" });
    this.#deps.log.info({ session: id, pod: member.pod, ...pair }, "session adopted");
    this.#judgeAdopted(session, member, held);
    return undefined;
  }

  #checkNew({ initiator, responder }: SessionPair): string | undefined {
    if (this.#sessions.between(initiator, responder) !== undefined) {
      return "the pair has another session";
    }
    const limit = this.#deps.quotas.sessionsPerPod;
    const isFull = [initiator, responder].some((pod) => this.#sessions.countOf(pod) >= limit);
    return isFull ? "quota" : undefined;
  }

  /** What happened while the sidecar was away is made good: the agent may have been restarted. */
  #judgeAdopted(session: Session, member: BrokerMember, held: readonly Grant[]): void {
    session.grants = this.#grantsOf(session);
    const lost = withoutGrants(held, session.allGrants);
    if (lost.length > 0) member.send({ type: "revoke", session: session.id, grants: lost });
    if (session.allGrants.length === 0) this.#revokeLater(session);
    else member.send({ type: "grants", session: session.id, ...session.grantsFor(member.pod) });
  }

  #judgeAgain(session: Session): void {
    if (session.isRevoked) return;
    const before = session.grants;
    const beforeAll = session.allGrants;
    session.grants = this.#grantsOf(session);
    if (JSON.stringify(before) === JSON.stringify(session.grants)) return;
    // By direction, so that a service that both pods back is not kept by the other direction's grant.
    const lost = joinGrants(
      withoutGrants(before.accept, session.grants.accept),
      withoutGrants(before.connect, session.grants.connect),
    );
    const { id } = session;
    if (lost.length > 0) this.#tell(session, () => ({ type: "revoke", session: id, grants: lost }));
    if (session.allGrants.length > 0) {
      this.#tell(session, (pod) => ({ type: "grants", session: id, ...session.grantsFor(pod) }));
    } else if (beforeAll.length > 0) {
      this.#revokeLater(session);
    }
  }

  #revokeLater(session: Session): void {
    this.#deps.log.info({ session: session.id, ...session.pair }, "session revoked");
    session.cancelShutdown ??= this.#deps.clock.after(REVOKE_GRACE_MS, () => {
      this.#deps.metrics.sessionEnds.inc({ reason: "revoked" });
      this.#close(session);
    });
  }

  #grantsOf({ pair }: Session): SessionGrants {
    const initiator = this.#catalog.pods.get(pair.initiator);
    const responder = this.#catalog.pods.get(pair.responder);
    if (initiator === undefined || responder === undefined) return NO_GRANTS;
    return {
      accept: judge(responder, initiator, this.#catalog).grants,
      connect: judge(initiator, responder, this.#catalog).grants,
    };
  }

  /** Ends a session for both sides. */
  #close(session: Session): void {
    this.#shutDown(session);
    this.#tell(session, () => ({ type: "sessionClosed", session: session.id }));
    this.#forget(session);
  }

  #shutDown(session: Session): void {
    if (session.end === undefined) return;
    try {
      this.#deps.native.shutdown(session.end);
    } catch (err) {
      // Adopted from a client: it may be a socket that is not connected any more.
      this.#deps.log.debug({ session: session.id, problem: messageOf(err) }, "shutdown failed");
    }
  }

  #tell(session: Session, message: (pod: string) => AgentMessage): void {
    for (const pod of session.shownBy) this.#members.get(pod)?.send(message(pod));
  }

  #forget(session: Session): void {
    session.cancelShutdown?.();
    session.release();
    this.#sessions.remove(session);
  }

  #requestsOf(pod: string): TokenBucket {
    let bucket = this.#requests.get(pod);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#deps.quotas.sessionRequests, this.#deps.clock);
      this.#requests.set(pod, bucket);
    }
    return bucket;
  }
}

function checkKnown(
  session: Session,
  { initiator, responder }: SessionPair,
  pod: string,
): string | undefined {
  if (session.pair.initiator !== initiator || session.pair.responder !== responder) {
    return "the session is that of other pods";
  }
  return session.isShownBy(pod) ? "adopted twice" : undefined;
}

function hasNewIdentity(before: CatalogPod | undefined, after: CatalogPod | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  return JSON.stringify(identityOf(before)) !== JSON.stringify(identityOf(after));
}

/** What a pod is told of another. */
export function identityOf({ uid, namespace, name, node, addresses }: CatalogPod): PodIdentity {
  return { uid, namespace, name, node, addresses };
}

/** Random, so that an id made before a restart never meets one made after it, nor can be guessed. */
function newSessionId(): string {
  return randomBytes(12).toString("base64url");
}
