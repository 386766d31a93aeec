import { ControlSocket, duplicateFd, shutdownFd } from "../shm-core/lib/control-socket.ts";
import type { ShimmyError } from "../common/errors.ts";
import {
  Relay,
  type RelayCounters,
  type RelayDeliveryRule,
  type RelayDrainResult,
  type RelayEvents,
  type RelayGrant,
  type RelayListener,
  type RelayListenOptions,
  type RelayOptions,
  type RelaySessionInfo,
  type RelaySessionInit,
  type RelayStreamInfo,
  type RelayUpstream,
} from "../shm-core/lib/relay.ts";
import type { FallbackReason } from "../common/reasons.ts";

/** A file descriptor with one owner. */
export interface Fd {
  /** Valid until it is closed or released. */
  readonly number: number;
  /** Safe to call twice. */
  close(): void;
  /** @returns The number; the caller owns it now. */
  release(): number;
}

/** What an {@link AgentSocket} calls. */
export interface AgentSocketHandlers {
  /** Receives each message and owns its descriptors. */
  onMessage(data: Buffer, fds: Fd[]): void;
  /** Called once when the agent closed or the socket failed; never after `close()`. */
  onClose(err?: ShimmyError): void;
}

/** A connection to the agent's message socket. */
export interface AgentSocket {
  /** User the agent runs as; the kernel says so. */
  readonly agentUid: number;
  /** Its process as this process sees it: 0 when it is outside our PID namespace. */
  readonly agentPid: number;
  /** Begins to receive; called once. */
  start(handlers: AgentSocketHandlers): void;
  /** @returns `false` when the agent does not keep up and the message waits, up to a bound. */
  send(data: Buffer, fds?: readonly number[]): boolean;
  /** Safe to call twice. */
  close(): void;
}

/** A session for the relay; see {@link RelaySessionInit}. */
export type SessionInit = Omit<RelaySessionInit, "fd"> & { readonly fd: Fd };

/** What the sidecar uses of {@link Relay}; tests pass a fake. */
export interface SidecarRelay {
  listen(options: RelayListenOptions): RelayListener;
  setUpstream(listenerIds: readonly number[], upstream: RelayUpstream): void;
  setDelivery(rules: readonly RelayDeliveryRule[]): void;
  addSession(init: SessionInit): void;
  failSession(pod: string, reason: FallbackReason): void;
  setGrants(id: string, accept: readonly RelayGrant[]): void;
  revoke(id: string, grants: readonly RelayGrant[]): void;
  closeSession(id: string): void;
  sessions(): RelaySessionInfo[];
  streams(limit?: number): RelayStreamInfo[];
  counters(): RelayCounters;
  drain(timeoutMs: number): Promise<RelayDrainResult>;
  stop(): void;
}

/** What the sidecar needs of the native library; tests pass a fake. */
export interface SidecarNative {
  startRelay(options: RelayOptions, events: RelayEvents): SidecarRelay;
  connect(path: string): Promise<AgentSocket>;
  /** A second descriptor for the same socket. */
  duplicate(fd: Fd): Fd;
  /** Ends a session's socket for all who hold it. */
  shutdown(fd: Fd): void;
}

/** The native library itself. */
export const systemNative: SidecarNative = {
  startRelay: (options, events) => Relay.start(options, events),
  connect: async (path) => wrap(await ControlSocket.connect({ path })),
  duplicate: (fd) => duplicateFd(fd.number),
  shutdown: (fd) => {
    shutdownFd(fd.number);
  },
};

function wrap(socket: ControlSocket): AgentSocket {
  return {
    agentUid: socket.peer.uid,
    agentPid: socket.peer.pid,
    start: (handlers) => {
      socket.onClose = (err) => {
        handlers.onClose(err);
      };
      socket.onMessage = (data, fds) => {
        handlers.onMessage(data, fds);
      };
    },
    send: (data, fds) => socket.send(data, fds),
    close: () => {
      socket.close();
    },
  };
}
