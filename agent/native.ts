import { close } from "node:fs";

import {
  ControlServer,
  ControlSocket,
  OwnedFd,
  shutdownFd,
  socketPair,
  unixPeerCgroup,
  unixPeerCredentials,
} from "../shm-core/lib/control-socket.ts";
import type { ShimmyError } from "../common/errors.ts";
import { memfdFacts, type MemfdFacts } from "./memfd.ts";

/** A file descriptor with one owner. */
export interface Fd {
  /** Valid until it is closed or released. */
  readonly number: number;
  /** Safe to call twice. */
  close(): void;
  /** @returns The number; the caller owns it now. */
  release(): number;
}

/** Who connected, as the kernel says. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  /**
   * The text of the process's `/proc/PID/cgroup`, read when it is asked for first: while the process
   * that connected is there. Throws a {@link ShimmyError} when it is not, or cannot be seen.
   */
  readonly cgroup?: () => string;
}

/** Where a server listens. */
export type ListenOn =
  /** A socket file, to be made. */
  | { readonly path: string; readonly mode: number }
  /** A socket that listens already. Whoever is told to listen on it owns it. */
  | { readonly fd: Fd };

/** What a {@link MessageSocket} calls. */
export interface MessageHandlers {
  /** Receives each message and owns its descriptors. */
  readonly onMessage: (data: Buffer, fds: Fd[]) => void;
  /** Called once when the peer closed or the socket failed; never after `close()`. */
  readonly onClose: (err?: ShimmyError) => void;
}

/** One accepted connection of a message socket. Records are whole, bounded messages. */
export interface MessageSocket {
  readonly peer: Credentials;
  /** Begins to receive; called once. */
  start(handlers: MessageHandlers): void;
  /** @returns `false` when the peer does not keep up and the message waits, up to a bound. */
  send(data: Buffer, fds?: readonly number[]): boolean;
  /** What was sent before still arrives. Safe to call twice. */
  close(): void;
}

/** What the agent needs of the native library; tests pass a fake. */
export interface AgentNative {
  listen(on: ListenOn, onConnection: (socket: MessageSocket) => void): { close(): void };
  /** Two connected sockets for a session. */
  socketPair(): [Fd, Fd];
  /** Ends a session's socket for all who hold it. */
  shutdown(fd: Fd): void;
  /** Whether a descriptor that a client sent is a socket of a session, made by this user's agent. */
  isSessionSocket(fd: Fd): boolean;
  /**
   * Looks at a descriptor that a client sent as a memfd; neither maps nor reads it.
   *
   * Rejects with {@link ShimmyError} `SHIMMY_ERR_BAD_REGION` when it is none.
   */
  inspectMemfd(fd: Fd): Promise<MemfdFacts>;
  /** Closes a descriptor of unknown kind; never blocks, as closing some kinds can. */
  discard(fd: Fd): void;
  /** Credentials of the peer of a connected Unix socket. */
  peerCredentials(fd: number): Credentials;
}

/** The native library itself. */
export const systemNative: AgentNative = {
  listen: (on, onConnection) => {
    const accept = (socket: ControlSocket): void => {
      onConnection(wrap(socket));
    };
    return "fd" in on
      ? adopt(on.fd, accept)
      : ControlServer.listen({ ...on, onConnection: accept });
  },
  socketPair,
  shutdown: (fd) => {
    shutdownFd(fd.number);
  },
  // A socketpair's peer is whoever made it; for what is not a Unix socket the kernel answers -1 or
  // an error.
  isSessionSocket: (fd) => {
    try {
      return unixPeerCredentials(fd.number).uid === process.geteuid?.();
    } catch {
      return false;
    }
  },
  inspectMemfd: (fd) => memfdFacts(fd.number),
  discard: (fd) => {
    close(fd.release(), () => undefined);
  },
  peerCredentials: (fd) => ({
    ...unixPeerCredentials(fd),
    cgroup: once(() => unixPeerCgroup(fd)),
  }),
};

/**
 * Connects to a message socket.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` or `SHIMMY_ERR_TIMEOUT` when nobody accepts there.
 */
export async function connectTo(path: string): Promise<MessageSocket> {
  return wrap(await ControlSocket.connect({ path }));
}

function adopt(fd: Fd, accept: (socket: ControlSocket) => void): ControlServer {
  const owned = new OwnedFd(fd.release());
  try {
    return ControlServer.adopt(owned, accept);
  } catch (err) {
    owned.close();
    throw err;
  }
}

function once<T>(read: () => T): () => T {
  let kept: { readonly value: T } | undefined;
  return () => (kept ??= { value: read() }).value;
}

function wrap(socket: ControlSocket): MessageSocket {
  return {
    peer: { ...socket.peer, cgroup: once(() => socket.peerCgroup()) },
    start: ({ onMessage, onClose }) => {
      socket.onClose = onClose;
      socket.onMessage = onMessage;
    },
    send: (data, fds) => socket.send(data, fds),
    close: () => {
      socket.close();
    },
  };
}
