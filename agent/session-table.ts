import { Session } from "./session.ts";

/** The sessions known, found by id, by pair of pods and by pod. */
export class SessionTable {
  readonly #byId = new Map<string, Session>();
  readonly #byPair = new Map<string, Session>();
  readonly #byPod = new Map<string, Set<Session>>();

  /** Every session, oldest first; a copy. */
  all(): Session[] {
    return [...this.#byId.values()];
  }

  get(id: string): Session | undefined {
    return this.#byId.get(id);
  }

  /** The session between two pods, whichever of them initiated it. */
  between(pod: string, other: string): Session | undefined {
    return this.#byPair.get(Session.keyOf({ initiator: pod, responder: other }));
  }

  /** Sessions that a pod takes part in; a copy. */
  of(pod: string): Session[] {
    return [...(this.#byPod.get(pod) ?? [])];
  }

  /** How many sessions a pod takes part in. */
  countOf(pod: string): number {
    return this.#byPod.get(pod)?.size ?? 0;
  }

  add(session: Session): void {
    this.#byId.set(session.id, session);
    this.#byPair.set(Session.keyOf(session.pair), session);
    for (const pod of podsOf(session)) {
      const sessions = this.#byPod.get(pod) ?? new Set<Session>();
      this.#byPod.set(pod, sessions.add(session));
    }
  }

  remove(session: Session): void {
    this.#byId.delete(session.id);
    this.#byPair.delete(Session.keyOf(session.pair));
    for (const pod of podsOf(session)) {
      const sessions = this.#byPod.get(pod);
      sessions?.delete(session);
      if (sessions?.size === 0) this.#byPod.delete(pod);
    }
  }
}

function podsOf({ pair }: Session): readonly string[] {
  return [pair.initiator, pair.responder];
}
