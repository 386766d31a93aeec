import { ShimmyError } from "../../common/errors.ts";
import { EventKind } from "./native.ts";
import { KeepAlive, nativeWithEvents, onNativeEvent } from "./native-events.ts";
import { checkedText, OwnedFd, toPeerCredentials, type PeerCredentials } from "./owned-fd.ts";
import { checked, errnoName, Status, statusError } from "./status.ts";

export {
  duplicateFd,
  leakedFdCount,
  OwnedFd,
  shutdownFd,
  socketPair,
  unixPeerCgroup,
  unixPeerCredentials,
  type PeerCredentials,
} from "./owned-fd.ts";

/** Longest message of a control socket, in bytes. */
export const MAX_MESSAGE_BYTES = 65_536;

/** Most file descriptors in one message. */
export const MAX_MESSAGE_FDS = 8;

/** Messages queued for a peer that does not read; one more closes the socket. */
export const MAX_QUEUED_MESSAGES = 256;

/** Bytes queued for a peer that does not read; more close the socket. */
export const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

const DEFAULT_CONNECT_TIMEOUT_MS = 1000;
/** Between two attempts while the listener's backlog is full. */
const CONNECT_RETRY_MS = 10;
/** Until accepting is tried again after it failed, as when the process is out of descriptors. */
const ACCEPT_RETRY_MS = 100;
/** Owner only: what a runtime directory's socket is unless asked otherwise. */
const DEFAULT_MODE = 0o600;

/** Receives one message. It owns `fds` and closes them; `data` is a copy of its own. */
export type ControlMessageHandler = (data: Buffer, fds: OwnedFd[]) => void;

/** Options for {@link ControlSocket.connect}. */
export interface ControlConnectOptions {
  /** Socket file, or an abstract name that starts with a NUL character. */
  readonly path: string;
  /** How long to try while the listener's backlog is full, in ms. @defaultValue 1000 */
  readonly timeoutMs?: number;
}

/** Options for {@link ControlServer.listen}. */
export interface ControlListenOptions {
  /** Socket file, or an abstract name that starts with a NUL character; at most 107 bytes. */
  readonly path: string;
  /** Permissions of the socket file. @defaultValue 0o600 */
  readonly mode?: number;
  /** Receives each connection, which waits to be read until its `onMessage` is set. */
  readonly onConnection: (socket: ControlSocket) => void;
}

const sockets = new Map<number, ControlSocket>();
const servers = new Map<number, ControlServer>();

// Set by the classes below, which alone can reach their private members.
let openSocket: (id: number) => ControlSocket;
let deliverMessage: (socket: ControlSocket, data: Buffer, fds: OwnedFd[]) => void;
let deliverEnd: (socket: ControlSocket, status: number) => void;
let deliverConnection: (server: ControlServer, socket: ControlSocket) => void;

/**
 * A connected SOCK_SEQPACKET Unix socket: whole messages of 1 to 65,536 bytes, each with up to
 * 8 file descriptors.
 *
 * Messages are read once {@link ControlSocket.onMessage} is set; until then they wait in the
 * kernel. A message that breaks a limit, is cut short or is empty closes the socket, and its
 * descriptors are closed. An open socket keeps the process alive, unless {@link ControlSocket.unref}
 * was called. Used on the thread that made it.
 */
export class ControlSocket implements Disposable {
  static {
    openSocket = (id) => new ControlSocket(id);
    deliverMessage = (socket, data, fds) => socket.#onMessage?.(data, fds);
    deliverEnd = (socket, status) => {
      socket.#ended(status);
    };
  }

  /** Who is at the other end. */
  readonly peer: PeerCredentials;

  /**
   * Called once when the peer closed (without an argument) or the socket failed; never after
   * {@link ControlSocket.close}. All messages that came before it are delivered first.
   */
  onClose: (err?: ShimmyError) => void = () => undefined;

  readonly #id: number;
  readonly #keepAlive = new KeepAlive();
  #onMessage: ControlMessageHandler | undefined;
  #isClosed = false;

  private constructor(id: number) {
    this.#id = id;
    this.peer = toPeerCredentials(nativeWithEvents().controlPeer(id), "peer credentials");
    sockets.set(id, this);
    this.#keepAlive.hold();
  }

  /**
   * Connects to a {@link ControlServer}.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when nobody listens there (the cause's code is
   * `ECONNREFUSED` or `ENOENT`) or it is not allowed (`EACCES`).
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when the listener does not accept in time.
   */
  static async connect(options: ControlConnectOptions): Promise<ControlSocket> {
    const { path, timeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = options;
    requirePath(path);
    const operation = `connect to ${printablePath(path)}`;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const id = nativeWithEvents().controlConnect(path);
      if (id >= 0) return new ControlSocket(id);
      const error = statusError(id, operation);
      if (errnoName(error) !== "EAGAIN") throw error;
      if (performance.now() >= deadline) {
        throw new ShimmyError(
          "SHIMMY_ERR_TIMEOUT",
          `${operation}: not accepted in ${timeoutMs} ms`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
  }

  /**
   * Makes a control socket of a connected SEQPACKET descriptor, such as one of a
   * {@link socketPair}. It owns the descriptor when this returns.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it is not one; `fd` stays the caller's.
   */
  static adopt(fd: OwnedFd): ControlSocket {
    const id = checked(nativeWithEvents().controlAdopt(fd.number), `adopt fd ${fd.number}`);
    fd.release();
    return new ControlSocket(id);
  }

  /**
   * The text of `/proc/PID/cgroup` of the process that connected; see {@link unixPeerCgroup}.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when that process has ended or is not one that we
   * can see, `SHIMMY_ERR_CLOSED` when this socket is closed.
   */
  peerCgroup(): string {
    return checkedText(nativeWithEvents().controlPeerCgroup(this.#id), "peer's cgroup");
  }

  /** Receives each message. Reading starts when this is set for the first time. */
  get onMessage(): ControlMessageHandler {
    return this.#onMessage ?? closeAll;
  }

  set onMessage(handler: ControlMessageHandler) {
    const isFirst = this.#onMessage === undefined;
    this.#onMessage = handler;
    if (isFirst && !this.#isClosed) nativeWithEvents().controlStartReading(this.#id);
  }

  /** Whether {@link ControlSocket.close} was called or `onClose` has been. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Sends one message. Never blocks. `fds` stay the caller's, who may close them at once: what
   * has to wait is duplicated.
   *
   * @returns `true` when the kernel took it. `false` when the peer's queue is full and the message
   * waits, up to {@link MAX_QUEUED_MESSAGES} or {@link MAX_QUEUED_BYTES}; beyond them the socket
   * ends, and `onClose` gets `SHIMMY_ERR_SLOW_READER`. Also `false` when the peer is gone: `onClose`
   * follows.
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after `close()` or `onClose`.
   * @throws {@link ShimmyError} `SHIMMY_ERR_MESSAGE_TOO_BIG` above 65,536 bytes.
   * @throws {@link ShimmyError} `SHIMMY_ERR_LIMIT` for more than 8 descriptors.
   * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` for an empty message.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when the kernel refuses: `EBADF` for a
   * descriptor that is not open, `ETOOMANYREFS` when too many are on their way. The socket stays open.
   */
  send(data: Uint8Array, fds: readonly number[] = []): boolean {
    if (this.#isClosed) throw new ShimmyError("SHIMMY_ERR_CLOSED", "send: socket is closed");
    const result = nativeWithEvents().controlSend(this.#id, data, fds);
    if (result === Status.notConnected || result === Status.queueFull) return false;
    return checked(result, `send of ${data.length} bytes`) === 1;
  }

  /** Lets the process end while this socket is open. */
  unref(): this {
    this.#keepAlive.release();
    return this;
  }

  /** Keeps the process alive while this socket is open; so it is from the start. */
  ref(): this {
    if (!this.#isClosed) this.#keepAlive.hold();
    return this;
  }

  /**
   * Closes the socket. What the kernel took reaches the peer; queued messages are dropped.
   * Safe to call twice.
   */
  close(): void {
    if (this.#isClosed) return;
    nativeWithEvents().controlClose(this.#id);
    this.#forget();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #ended(status: number): void {
    this.#forget();
    this.onClose(status === 0 ? undefined : statusError(status, "control socket"));
  }

  #forget(): void {
    this.#isClosed = true;
    sockets.delete(this.#id);
    this.#keepAlive.release();
  }
}

/**
 * A listening control socket.
 *
 * It keeps the process alive while it is open, unless {@link ControlServer.unref} was called.
 * Closing it leaves accepted sockets open.
 */
export class ControlServer implements Disposable {
  static {
    deliverConnection = (server, socket) => {
      server.#onConnection(socket);
    };
  }

  readonly #id: number;
  readonly #onConnection: (socket: ControlSocket) => void;
  readonly #keepAlive = new KeepAlive();
  #isClosed = false;

  private constructor(id: number, onConnection: (socket: ControlSocket) => void) {
    this.#id = id;
    this.#onConnection = onConnection;
    servers.set(id, this);
    this.#keepAlive.hold();
  }

  /**
   * Binds `path` and accepts connections. A socket file that nobody listens on is replaced.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` when another process listens there, or
   * the file is not a socket.
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `path` is empty.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it cannot be bound (`ENAMETOOLONG`,
   * `EACCES`, `ENOENT`).
   */
  static listen(options: ControlListenOptions): ControlServer {
    const { path, mode = DEFAULT_MODE, onConnection } = options;
    requirePath(path);
    const id = nativeWithEvents().controlListen(path, mode);
    return new ControlServer(checked(id, `listen on ${printablePath(path)}`), onConnection);
  }

  /**
   * Accepts connections from a SEQPACKET socket that another process bound and listens on already.
   * It owns the descriptor when this returns, and removes no file. Clients go on to see whoever
   * called listen(2) as their peer.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it is not one; `fd` stays the caller's.
   */
  static adopt(fd: OwnedFd, onConnection: (socket: ControlSocket) => void): ControlServer {
    const id = nativeWithEvents().controlListenFd(fd.number);
    const server = new ControlServer(checked(id, `accept on fd ${fd.number}`), onConnection);
    fd.release();
    return server;
  }

  /** Lets the process end while this server is open. */
  unref(): this {
    this.#keepAlive.release();
    return this;
  }

  /** Keeps the process alive while this server is open; so it is from the start. */
  ref(): this {
    if (!this.#isClosed) this.#keepAlive.hold();
    return this;
  }

  /** Stops listening and removes the socket file. Safe to call twice. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    nativeWithEvents().controlCloseListener(this.#id);
    servers.delete(this.#id);
    this.#keepAlive.release();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

// Arguments as listed in src/control_events.h.
onNativeEvent(EventKind.message, (id, data, fds) => {
  const owned = (fds as number[]).map((fd) => new OwnedFd(fd));
  const socket = sockets.get(id);
  if (socket === undefined) closeAll(data as Buffer, owned);
  else deliverMessage(socket, data as Buffer, owned);
});

onNativeEvent(EventKind.socketClosed, (id, status) => {
  const socket = sockets.get(id);
  if (socket !== undefined) deliverEnd(socket, status as number);
});

onNativeEvent(EventKind.connection, (id, socketId) => {
  const server = servers.get(id);
  if (server === undefined) nativeWithEvents().controlClose(socketId as number);
  else deliverConnection(server, openSocket(socketId as number));
});

onNativeEvent(EventKind.acceptPaused, (id) => {
  setTimeout(() => {
    nativeWithEvents().controlResumeAccept(id);
  }, ACCEPT_RETRY_MS).unref();
});

function closeAll(_data: Buffer, fds: readonly OwnedFd[]): void {
  for (const fd of fds) fd.close();
}

function requirePath(path: string): void {
  if (path.length > 0) return;
  throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "path must not be empty");
}

/** An abstract name is written with `@`, as ss(8) does. */
function printablePath(path: string): string {
  return path.startsWith("\0") ? `@${path.slice(1)}` : path;
}
