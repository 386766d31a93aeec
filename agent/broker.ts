import { randomBytes } from "node:crypto";

import type { Logger } from "../common/log.ts";
import type { FallbackReason, SessionEndReason } from "../common/reasons.ts";
import type { AdoptMessage, AgentMessage, Grant } from "./api.ts";
import { identityOf, type Catalog, type CatalogPod } from "./catalog.ts";
import type { Clock } from "../common/clock.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { AgentNative, Fd } from "./native.ts";
import { judge, lostGrants } from "./policy.ts";
import { TokenBucket, type Quotas } from "./quotas.ts";
import { SessionRegistry } from "./session-registry.ts";
import type { SessionTable } from "./session-table.ts";
import { Session, type SessionPair } from "./session.ts";

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

/** Unknown sessions that one report is answered about; the next report names the rest again. */
const MAX_UNKNOWN_ANSWERED = 64;

type Refusal = readonly [reason: FallbackReason, message: string];

/**
 * Introduces sidecars to each other: one session per pair of pods, granted by policy, revoked when
 * policy changes. It is not in the data path; a session outlives the broker.
 *
 *   I1  at most one session per pair of pods
 */
export class Broker {
  readonly #deps: BrokerDeps;
  readonly #members = new Map<string, BrokerMember>();
  readonly #registry: SessionRegistry;
  readonly #sessions: SessionTable;
  readonly #requests = new Map<string, TokenBucket>();

  constructor(catalog: Catalog, deps: BrokerDeps) {
    this.#deps = deps;
    this.#registry = new SessionRegistry(catalog, {
      ...deps,
      tell: (pod, message) => {
        this.#members.get(pod)?.send(message);
      },
    });
    this.#sessions = this.#registry.table;
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
    for (const session of this.sessionsOf(member.pod)) this.#registry.hide(session, member.pod);
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
    const isWithinRate = this.#requestsOf(member.pod).take();
    const problem = isWithinRate ? this.#adopt(member, message, fd) : "too many session requests";
    if (problem === undefined) return;
    this.#deps.native.discard(fd);
    this.#deps.metrics.adoptions.inc({ result: "refused" });
    const fields = { pod: member.pod, session: message.session, problem };
    this.#deps.log[isWithinRate ? "warn" : "debug"](fields, "session not adopted");
    member.send({ type: "sessionClosed", session: message.session });
  }

  /** A sidecar says that a session is over. */
  ended(member: BrokerMember, id: string, reason: SessionEndReason): void {
    const session = this.#sessions.get(id);
    if (session === undefined || !session.isShownBy(member.pod)) return;
    this.#deps.log.info({ session: id, pod: member.pod, reason }, "session ended");
    this.#deps.metrics.sessionEnds.inc({ reason });
    this.#registry.shutDown(session);
    session.hide(member.pod, this.#deps.clock.now());
    this.#registry.close(session);
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
    for (const pod of this.#requests.keys()) {
      if (!catalog.pods.has(pod)) this.#requests.delete(pod);
    }
    this.#registry.setCatalog(catalog);
  }

  /** Closes sessions that one side alone has stood for too long; call it every few seconds. */
  sweep(): void {
    this.#registry.sweep();
  }

  /** Lets go of everything held; sessions stay open between their sidecars. */
  stop(): void {
    for (const session of this.sessions()) this.#registry.forget(session);
  }

  #open(member: BrokerMember, request: number, target: string): Refusal | undefined {
    if (!this.#requestsOf(member.pod).take()) return ["quota", "too many session requests"];
    const client = this.#registry.catalog.pods.get(member.pod);
    const server = this.#registry.catalog.pods.get(target);
    if (client === undefined || server === undefined) {
      return ["peer_not_injected", `no pod with uid ${target} is known`];
    }
    const { reason } = judge({ client, server }, this.#registry.catalog, "new");
    if (reason !== undefined) return [reason, `nothing of pod ${target} may be called`];
    if (this.#answerWithExisting(member, request, target)) return undefined;
    return this.#introduce(member, request, { client, server });
  }

  #answerWithExisting(member: BrokerMember, request: number, target: string): boolean {
    const session = this.#sessions.between(member.pod, target);
    if (session === undefined) return false;
    if (session.isRevoked || !session.isShownBy(member.pod)) {
      // One that is being revoked, or that the sidecar lost with its process: start anew (I1).
      this.#registry.close(session);
      return false;
    }
    const peer = this.#registry.catalog.pods.get(target);
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
    session.grants = this.#registry.grantsOf(session);
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
    session.grants = this.#registry.grantsOf(session);
    const { accept, connect } = session.grants;
    const lost = lostGrants(held, [...accept, ...connect]);
    if (lost.length > 0) member.send({ type: "revoke", session: session.id, grants: lost });
    if (session.allGrants.length === 0) this.#registry.revokeLater(session);
    else member.send({ type: "grants", session: session.id, ...session.grantsFor(member.pod) });
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

/** Random, so that an id made before a restart never meets one made after it, nor can be guessed. */
function newSessionId(): string {
  return randomBytes(12).toString("base64url");
}
