import type {
  ClientMessage,
  Grant,
  GrantsMessage,
  PodIdentity,
  RevokeMessage,
  SessionMessage,
  SessionRefusedMessage,
  SessionSide,
} from "../agent/api.ts";
import type { Clock } from "../common/clock.ts";
import { messageOf } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import { SESSION_END_REASONS, type SessionEndReason } from "../common/reasons.ts";
import type { Fd, SidecarNative, SidecarRelay } from "./native.ts";

/** The agent, while there is a connection to it. */
export interface AgentLink {
  /** @returns `false` when it could not be sent. */
  send(message: ClientMessage, fds?: readonly Fd[]): boolean;
}

/** What a {@link SessionKeeper} works with. */
export interface SessionKeeperDeps {
  readonly relay: Pick<
    SidecarRelay,
    "addSession" | "failSession" | "setGrants" | "revoke" | "closeSession"
  >;
  readonly native: Pick<SidecarNative, "duplicate" | "shutdown">;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A session that the relay has. */
export interface HeldSession {
  readonly id: string;
  readonly peer: PodIdentity;
  readonly side: SessionSide;
  /** What the peer may open here. */
  readonly accept: readonly Grant[];
  /** What may be opened at the peer. */
  readonly connect: readonly Grant[];
}

interface Entry {
  readonly session: HeldSession;
  /** A duplicate of the socket that the relay owns. */
  readonly fd: Fd;
}

interface Request {
  readonly pod: string;
  readonly cancelTimer: () => void;
}

/** An agent that has not answered by then has lost the question. */
const REQUEST_TIMEOUT_MS = 5000;
/** As many as a report can name. */
const MAX_SESSIONS = 1024;
const LAST_REQUEST = 0xffff_ffff;

/**
 * Gets sessions from the agent for the relay, and shows them to an agent that has forgotten them.
 *
 *   I1  a duplicate of a session's socket is held here exactly while the relay has the session
 *   I2  every session the relay asks for is answered: by `addSession` or `failSession`
 *   I3  after a new connection every session is adopted before the first `openSession`
 */
export class SessionKeeper {
  readonly #deps: SessionKeeperDeps;
  readonly #sessions = new Map<string, Entry>();
  readonly #requests = new Map<number, Request>();
  readonly #ends = Object.fromEntries(SESSION_END_REASONS.map((reason) => [reason, 0])) as Record<
    SessionEndReason,
    number
  >;
  #link: AgentLink | undefined;
  #lastRequest = 0;

  constructor(deps: SessionKeeperDeps) {
    this.#deps = deps;
  }

  /** Sessions of the relay, oldest first. */
  sessions(): readonly HeldSession[] {
    return [...this.#sessions.values()].map(({ session }) => session);
  }

  /** How many sessions ended so far, by reason. */
  get ends(): Readonly<Record<SessionEndReason, number>> {
    return this.#ends;
  }

  /** There is an agent: shows it every session (I3), and asks it from here on. */
  attach(link: AgentLink): void {
    this.#link = link;
    for (const { session, fd } of this.#sessions.values()) {
      const { id, peer, side, accept, connect } = session;
      const held = [...accept, ...connect];
      const isSent = link.send({ type: "adopt", session: id, peer: peer.uid, side, held }, [fd]);
      // A session that no agent knows can never be revoked.
      if (!isSent) this.#deps.relay.closeSession(id);
    }
  }

  /** The agent is gone: what was asked of it has no answer any more. */
  detach(): void {
    this.#link = undefined;
    for (const request of [...this.#requests.keys()]) this.#failRequest(request);
  }

  /** The relay wants a session with a pod. */
  need(pod: string): void {
    const isAsked = [...this.#requests.values()].some((request) => request.pod === pod);
    if (isAsked) return;
    const request = this.#nextRequest();
    if (this.#link?.send({ type: "openSession", request, pod }) !== true) {
      this.#deps.relay.failSession(pod, "agent_unavailable");
      return;
    }
    const cancelTimer = this.#deps.clock.after(REQUEST_TIMEOUT_MS, () => {
      this.#failRequest(request);
    });
    this.#requests.set(request, { pod, cancelTimer });
  }

  /** The agent gives a session; owns `fd`. */
  opened(message: SessionMessage, fd: Fd | undefined): void {
    if (message.request !== undefined) this.#takeRequest(message.request);
    if (fd !== undefined) {
      this.#add(message, fd);
    } else if (!this.#sessions.has(message.session)) {
      // It ended here while the agent answered; the agent learns of it in a moment.
      this.#deps.relay.failSession(message.peer.uid, "agent_unavailable");
    }
  }

  /** The agent gives none. */
  refused({ request, pod, reason, message }: SessionRefusedMessage): void {
    const asked = this.#takeRequest(request);
    this.#deps.log.info({ peer: pod, reason, detail: message }, "session refused");
    this.#deps.relay.failSession(asked ?? pod, reason);
  }

  /** The grants of a session changed. */
  granted({ session: id, accept, connect }: GrantsMessage): void {
    if (this.#update(id, { accept, connect })) this.#deps.relay.setGrants(id, accept);
  }

  /** Grants were taken back. */
  revoked({ session: id, grants }: RevokeMessage): void {
    const session = this.#sessions.get(id)?.session;
    if (session === undefined) return;
    const accept = without(session.accept, grants);
    const connect = without(session.connect, grants);
    this.#update(id, { accept, connect });
    this.#deps.log.info({ session: id, peer: session.peer.uid, grants }, "grants revoked");
    this.#deps.relay.revoke(id, grants);
  }

  /** The agent says that a session is over. */
  closed(session: string): void {
    if (this.#sessions.has(session)) this.#deps.relay.closeSession(session);
  }

  /** The relay says that streams can be opened. */
  ready(session: string): void {
    const peer = this.#sessions.get(session)?.session.peer.uid;
    this.#deps.log.info({ session, peer }, "session ready");
  }

  /** The relay says that a session is over. */
  ended(session: string, reason: SessionEndReason): void {
    this.#ends[reason] += 1;
    const entry = this.#sessions.get(session);
    if (entry === undefined) return;
    this.#sessions.delete(session);
    this.#release(entry.fd);
    this.#deps.log.info({ session, peer: entry.session.peer.uid, reason }, "session ended");
    this.#link?.send({ type: "sessionEnded", session, reason });
  }

  /** Lets go of everything held; what the relay has ends with the relay. */
  stop(): void {
    this.#link = undefined;
    for (const { cancelTimer } of this.#requests.values()) cancelTimer();
    this.#requests.clear();
    for (const { fd } of this.#sessions.values()) fd.close();
    this.#sessions.clear();
  }

  #add(message: SessionMessage, fd: Fd): void {
    const { session: id, side, peer, accept, connect } = message;
    const { uid, namespace, name, addresses } = peer;
    let duplicate: Fd | undefined;
    try {
      if (this.#sessions.has(id)) throw new Error("the id is in use");
      if (this.#sessions.size >= MAX_SESSIONS)
        throw new Error(`more than ${MAX_SESSIONS} sessions`);
      duplicate = this.#deps.native.duplicate(fd);
      const relayPeer = { pod: uid, namespace, name, addresses };
      this.#deps.relay.addSession({ id, fd, side, peer: relayPeer, accept });
      this.#sessions.set(id, { session: { id, peer, side, accept, connect }, fd: duplicate });
      this.#deps.log.info({ session: id, peer: uid, side }, "session opened");
    } catch (err) {
      fd.close();
      duplicate?.close();
      this.#deps.log.warn({ session: id, peer: uid, problem: messageOf(err) }, "session not taken");
      this.#deps.relay.failSession(uid, "agent_unavailable");
      if (!this.#sessions.has(id)) {
        this.#link?.send({ type: "sessionEnded", session: id, reason: "bad_fd" });
      }
    }
  }

  /** @returns Whether there is such a session. */
  #update(id: string, grants: Pick<HeldSession, "accept" | "connect">): boolean {
    const entry = this.#sessions.get(id);
    if (entry === undefined) return false;
    this.#sessions.set(id, { ...entry, session: { ...entry.session, ...grants } });
    return true;
  }

  /** Ends the socket for the peer too: the agent may hold a duplicate that would keep it open. */
  #release(fd: Fd): void {
    try {
      this.#deps.native.shutdown(fd);
    } catch (err) {
      this.#deps.log.debug({ problem: messageOf(err) }, "shutdown failed");
    }
    fd.close();
  }

  #nextRequest(): number {
    this.#lastRequest = this.#lastRequest === LAST_REQUEST ? 1 : this.#lastRequest + 1;
    return this.#lastRequest;
  }

  /** @returns The pod asked for, if the question is still open. */
  #takeRequest(request: number): string | undefined {
    const found = this.#requests.get(request);
    found?.cancelTimer();
    this.#requests.delete(request);
    return found?.pod;
  }

  #failRequest(request: number): void {
    const pod = this.#takeRequest(request);
    if (pod !== undefined) this.#deps.relay.failSession(pod, "agent_unavailable");
  }
}

function without(grants: readonly Grant[], gone: readonly Grant[]): Grant[] {
  return grants.filter(
    ({ service, port }) => !gone.some((other) => other.service === service && other.port === port),
  );
}
