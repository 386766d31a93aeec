import { ShimmyError } from "../../common/errors.ts";
import { native } from "./native.ts";
import { checked, statusError } from "./status.ts";

/** Who is at the other end of a Unix socket, as the kernel saw it when the two connected. */
export interface PeerCredentials {
  /** Process id; 0 when the peer is outside our PID namespace. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

let leakedFds = 0;

/** Closes what was neither closed nor released; only a leak gets here. */
const safetyNet = new FinalizationRegistry<number>((fd) => {
  leakedFds++;
  native().closeFd(fd);
});

/** How many {@link OwnedFd} of this environment were collected as garbage while still open. */
export function leakedFdCount(): number {
  return leakedFds;
}

/**
 * A file descriptor with one owner, closed exactly once.
 *
 * Close it, release it, or declare it with `using`. One that is forgotten is closed when it is
 * collected, and counted in {@link leakedFdCount}: a safety net, not a way to close. What a
 * terminated worker held is closed with the worker.
 */
export class OwnedFd implements Disposable {
  #fd: number;

  /** Takes ownership: from here on nobody else may close `fd`. */
  constructor(fd: number) {
    this.#fd = requireFd(fd, "fd");
    native().ownFd(fd);
    safetyNet.register(this, fd, this);
  }

  /**
   * The descriptor's number, valid until {@link OwnedFd.close} or {@link OwnedFd.release}.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` after either.
   */
  get number(): number {
    if (this.#fd < 0) throw new ShimmyError("SHIMMY_ERR_CLOSED", "file descriptor is closed");
    return this.#fd;
  }

  /** Whether it was closed or released. */
  get isClosed(): boolean {
    return this.#fd < 0;
  }

  /** Closes the descriptor. Safe to call twice. */
  close(): void {
    if (this.#fd < 0) return;
    // The result does not matter: Linux frees the number whatever close() answers.
    native().closeFd(this.#forget());
  }

  /**
   * Gives the descriptor up: the caller owns the number it gets.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` when it was closed or released before.
   */
  release(): number {
    native().disownFd(this.number);
    return this.#forget();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #forget(): number {
    const fd = this.#fd;
    this.#fd = -1;
    safetyNet.unregister(this);
    return fd;
  }
}

/**
 * Two connected Unix sockets, SOCK_SEQPACKET, close-on-exec and non-blocking.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when the kernel refuses (EMFILE, ENFILE).
 */
export function socketPair(): [OwnedFd, OwnedFd] {
  const result = native().socketPair();
  if (typeof result === "number") throw statusError(result, "socketpair");
  return [new OwnedFd(result[0]), new OwnedFd(result[1])];
}

/**
 * A second descriptor for what `fd` refers to; close-on-exec.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `fd` is not a whole number from 0.
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it is not open, or there is no number left.
 */
export function duplicateFd(fd: number): OwnedFd {
  return new OwnedFd(checked(native().duplicateFd(requireFd(fd, "fd")), `duplicate fd ${fd}`));
}

/**
 * Shuts a socket down in both directions, for every process that holds it. Does not close it.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `fd` is not a whole number from 0.
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it is not an open, connected socket.
 */
export function shutdownFd(fd: number): void {
  checked(native().shutdownFd(requireFd(fd, "fd")), `shut down fd ${fd}`);
}

/**
 * Who connected a Unix socket of any type, a `net.Socket`'s descriptor included.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `fd` is not a whole number from 0,
 * as the descriptor of a `net.Socket` that is closed already (-1).
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it is not an open socket.
 */
export function unixPeerCredentials(fd: number): PeerCredentials {
  const result = native().peerCredentials(requireFd(fd, "fd"));
  return toPeerCredentials(result, `peer credentials of fd ${fd}`);
}

/**
 * The text of `/proc/PID/cgroup` of the process that connected a Unix socket.
 *
 * That process was alive when it had been read: a later one with its number is not taken for it. On
 * kernels before 6.5 that holds only from this call on.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `fd` is not a whole number from 0.
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when the process has ended or is not one that we
 * can see (`ESRCH`), or `fd` is not an open socket.
 */
export function unixPeerCgroup(fd: number): string {
  return checkedText(native().peerCgroup(requireFd(fd, "fd")), `peer's cgroup of fd ${fd}`);
}

/** Returns a text. @throws {@link ShimmyError} for a negative status in its place. */
export function checkedText(result: string | number, operation: string): string {
  if (typeof result === "number") throw statusError(result, operation);
  return result;
}

/** Converts what the addon answers. @throws {@link ShimmyError} for a negative status. */
export function toPeerCredentials(
  result: readonly [number, number, number] | number,
  operation: string,
): PeerCredentials {
  if (typeof result === "number") throw statusError(result, operation);
  const [pid, uid, gid] = result;
  return Object.freeze({ pid, uid, gid });
}

/** Returns a whole number from 0 to 2^31 - 1. @throws {@link ShimmyError} for anything else. */
export function requireFd(fd: number, name: string): number {
  if (Number.isInteger(fd) && fd >= 0 && fd <= 0x7fff_ffff) return fd;
  throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", `${name} must be a descriptor, got ${fd}`);
}
