import { ShimmyError } from "../../common/errors.ts";
import { SESSION_END_REASONS, type FallbackReason } from "../../common/reasons.ts";
import { EventKind } from "./native.ts";
import { KeepAlive, nativeWithEvents, onNativeEvent } from "./native-events.ts";
import {
  checkRelayOptions,
  checkUpstream,
  reasonNumber,
  requireAddress,
  requireInteger,
  requirePort,
  requireService,
} from "./relay-check.ts";
import { snapshotLength, toRelayCounters, type RelayCounters } from "./relay-counters.ts";
import type {
  RelayDeliveryRule,
  RelayDrainResult,
  RelayEvents,
  RelayGrant,
  RelayListener,
  RelayListenOptions,
  RelayOptions,
  RelaySessionInfo,
  RelaySessionInit,
  RelayStreamInfo,
  RelayUpstream,
} from "./relay-types.ts";
import { checked, errnoName, statusError } from "./status.ts";

export type { RelayCounters, RelayHistogram } from "./relay-counters.ts";
export type * from "./relay-types.ts";

/** Most streams {@link Relay.streams} lists unless asked otherwise. */
export const DEFAULT_STREAM_LIMIT = 1000;

const MAX_TIMEOUT_MS = 0xffff_ffff;

const relays = new Map<number, Relay>();

// Set by the class below, which alone can reach its private members.
let eventsOf: (relay: Relay) => RelayEvents;
let deliverDrained: (relay: Relay, result: RelayDrainResult) => void;

/**
 * Carries TCP connections of local applications over shared-memory streams to other sidecars, and
 * streams of other sidecars to the local application.
 *
 * Bytes move on native threads; what is set here is their table. It keeps the process alive until
 * {@link Relay.stop}, unless {@link Relay.unref} was called. Used on the thread that started it.
 * Every method throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after `stop()`.
 */
export class Relay implements Disposable {
  static {
    eventsOf = (relay) => relay.#events;
    deliverDrained = (relay, result) => {
      relay.#drain?.resolve(result);
      relay.#drain = undefined;
    };
  }

  readonly #id: number;
  readonly #events: RelayEvents;
  readonly #keepAlive = new KeepAlive();
  readonly #snapshot: BigInt64Array;
  #drain: PromiseWithResolvers<RelayDrainResult> | undefined;
  #isStopped = false;

  private constructor(id: number, events: RelayEvents) {
    this.#id = id;
    this.#events = events;
    this.#snapshot = new BigInt64Array(snapshotLength(nativeWithEvents().relayCounterLayout));
    relays.set(id, this);
    this.#keepAlive.hold();
  }

  /**
   * Starts the native threads.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when an option is unknown or out of range.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when threads or descriptors run out.
   */
  static start(options: RelayOptions, events: RelayEvents): Relay {
    const result = nativeWithEvents().relayStart(checkRelayOptions(options));
    return new Relay(checked(result, "start the relay"), events);
  }

  /**
   * Accepts connections of local applications for an upstream.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` or `SHIMMY_ERR_ADDRESS_NOT_AVAILABLE`.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a bad address, port or upstream.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when the kernel refuses (`EACCES`).
   */
  listen({ address, port, upstream }: RelayListenOptions): RelayListener {
    requireAddress(address);
    requirePort(port, 0);
    const operation = `listen on ${address} port ${port}`;
    const target = checkUpstream(upstream);
    const result = nativeWithEvents().relayListen(this.#id, address, port, target);
    if (typeof result === "number") throw statusError(result, operation);
    return Object.freeze({ id: result[0], address, port: result[1] });
  }

  /**
   * Replaces the upstream of listeners; connections that exist are left alone.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a bad upstream.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` (`ENOENT`) for an unknown listener.
   */
  setUpstream(listenerIds: readonly number[], upstream: RelayUpstream): void {
    const target = checkUpstream(upstream);
    for (const id of listenerIds) {
      const result = nativeWithEvents().relaySetUpstream(this.#id, id, target);
      checked(result, `set the upstream of listener ${id}`);
    }
  }

  /**
   * Stops a listener; connections it accepted are left alone.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` (`ENOENT`) for an unknown listener.
   */
  unlisten(id: number): void {
    checked(nativeWithEvents().relayUnlisten(this.#id, id), `stop listener ${id}`);
  }

  /**
   * Says to which ports of the application peers' streams may go; others are refused.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a bad port or address.
   */
  setDelivery(rules: readonly RelayDeliveryRule[]): void {
    for (const { port, address } of rules) {
      requirePort(port);
      requireAddress(address);
    }
    checked(nativeWithEvents().relaySetDelivery(this.#id, rules), "set delivery");
  }

  /**
   * Takes a session over and greets the peer; `onSessionReady` or `onSessionEnded` follows. The
   * descriptor is the relay's from here on, also when this throws one of the last two.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a bad grant.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM`: `EEXIST` when the id is in use, `EINVAL` when
   * the descriptor is not a SEQPACKET socket.
   */
  addSession({ id, fd, side, peer, accept }: RelaySessionInit): void {
    checkGrants(accept);
    const result = nativeWithEvents().relayAddSession(this.#id, {
      id,
      fd: fd.release(),
      initiator: side === "initiator",
      peer,
      accept,
    });
    checked(result, `add session ${id}`);
  }

  /**
   * Says that there will be no session with a pod: its waiting connections go over TCP.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for an unknown reason.
   */
  failSession(pod: string, reason: FallbackReason): void {
    const result = nativeWithEvents().relayFailSession(this.#id, pod, reasonNumber(reason));
    checked(result, `fail the session with ${pod}`);
  }

  /**
   * Replaces what the peer of a session may open; does nothing when the session is over.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a bad grant.
   */
  setGrants(id: string, accept: readonly RelayGrant[]): void {
    checkGrants(accept);
    const result = nativeWithEvents().relaySetGrants(this.#id, id, accept);
    checkedUnlessGone(result, `set the grants of session ${id}`);
  }

  /**
   * Takes grants away and resets the streams under them, both directions; does nothing when the
   * session is over.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` for a bad grant.
   */
  revoke(id: string, grants: readonly RelayGrant[]): void {
    checkGrants(grants);
    const result = nativeWithEvents().relayRevoke(this.#id, id, grants);
    checkedUnlessGone(result, `revoke grants of session ${id}`);
  }

  /** Ends a session; established streams go on. Does nothing when it is over. */
  closeSession(id: string): void {
    const result = nativeWithEvents().relayCloseSession(this.#id, id);
    checkedUnlessGone(result, `close session ${id}`);
  }

  /** Sessions as they are now. */
  sessions(): RelaySessionInfo[] {
    const result = nativeWithEvents().relaySessions(this.#id);
    if (typeof result === "number") throw statusError(result, "list sessions");
    return result as RelaySessionInfo[];
  }

  /** Relayed connections as they are now, oldest first, at most `limit`. */
  streams(limit = DEFAULT_STREAM_LIMIT): RelayStreamInfo[] {
    requireInteger("limit", limit, 0, 0x7fff_ffff);
    const result = nativeWithEvents().relayStreams(this.#id, limit);
    if (typeof result === "number") throw statusError(result, "list streams");
    return result as RelayStreamInfo[];
  }

  /** What the relay has done since its start. Cheap: no lock, no message to its threads. */
  counters(): RelayCounters {
    const addon = nativeWithEvents();
    checked(addon.relayCounters(this.#id, this.#snapshot), "read counters");
    return toRelayCounters(addon.relayCounterLayout, this.#snapshot);
  }

  /**
   * Stops accepting, lets connections end, and cuts the rest after `timeoutMs`. A second call
   * gives the promise of the first.
   *
   * @returns A promise that rejects with `SHIMMY_ERR_CLOSED` when `stop()` comes first.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `timeoutMs` is out of range.
   */
  drain(timeoutMs: number): Promise<RelayDrainResult> {
    requireInteger("timeoutMs", timeoutMs, 0, MAX_TIMEOUT_MS);
    if (this.#drain === undefined) {
      checked(nativeWithEvents().relayDrain(this.#id, timeoutMs), "drain");
      this.#drain = Promise.withResolvers();
    }
    return this.#drain.promise;
  }

  /** Lets the process end while the relay runs. */
  unref(): this {
    this.#keepAlive.release();
    return this;
  }

  /** Stops the threads and closes everything; peers see resets. Safe to call twice. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    nativeWithEvents().relayStop(this.#id);
    relays.delete(this.#id);
    this.#keepAlive.release();
    this.#drain?.reject(new ShimmyError("SHIMMY_ERR_CLOSED", "drain: the relay was stopped"));
  }

  [Symbol.dispose](): void {
    this.stop();
  }
}

// Arguments as listed in src/relay_events.h. A relay that was stopped gets no more events.
onNativeEvent(EventKind.relaySessionNeeded, (id, pod) => {
  const relay = relays.get(id);
  if (relay !== undefined) eventsOf(relay).onSessionNeeded(pod as string);
});

onNativeEvent(EventKind.relaySessionReady, (id, session) => {
  const relay = relays.get(id);
  if (relay !== undefined) eventsOf(relay).onSessionReady(session as string);
});

onNativeEvent(EventKind.relaySessionEnded, (id, session, reason) => {
  const relay = relays.get(id);
  const name = SESSION_END_REASONS[reason as number] ?? "closed";
  if (relay !== undefined) eventsOf(relay).onSessionEnded(session as string, name);
});

onNativeEvent(EventKind.relayDrained, (id, drained, aborted) => {
  const relay = relays.get(id);
  if (relay === undefined) return;
  deliverDrained(relay, { drained: drained as number, aborted: aborted as number });
});

function checkGrants(grants: readonly RelayGrant[]): void {
  for (const { service, port } of grants) {
    requireService(service);
    requirePort(port);
  }
}

/** A session can end on its own thread while its owner still means to change it. */
function checkedUnlessGone(result: number, operation: string): void {
  if (result >= 0) return;
  const error = statusError(result, operation);
  if (errnoName(error) !== "ENOENT") throw error;
}
