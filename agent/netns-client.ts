import { ShimmyError } from "../common/errors.ts";
import type { Clock } from "../common/clock.ts";
import type { Fd, MessageSocket } from "./native.ts";
import type { PodProcess } from "./processes.ts";

/** Options for {@link NetnsHelper}. */
export interface NetnsHelperOptions {
  /** The helper's socket. */
  readonly path: string;
  /** Connects to a message socket. */
  readonly connect: (path: string) => Promise<MessageSocket>;
  readonly clock: Clock;
}

/** What the helper made, or that there is nothing to make. */
export type Entered =
  | {
      readonly kind: "opened";
      /** Inode of the network namespace. */
      readonly namespace: bigint;
      /** Both listen already. */
      readonly api: Fd;
      readonly fd: Fd;
    }
  | { readonly kind: "same" };

/** Bytes of a pod's UID in a request. */
const POD_BYTES = 64;
const REQUEST_BYTES = 32 + POD_BYTES;
const REPLY_BYTES = 24;
const REQUEST_MAGIC = 0x51484e53;
const REPLY_MAGIC = 0x52484e53;
const VERSION = 1;
/** The helper answers within milliseconds; it has one request at a time. */
const TIMEOUT_MS = 5000;

/** As `Result` in netns-helper/protocol.h. */
const OPENED = 0;
const SAME = 1;
const NAME_TAKEN = 5;
const REFUSALS: Readonly<Record<number, string>> = {
  2: "the process has ended",
  3: "its cgroup does not name the pod",
  4: "it is in a network namespace of the node",
  6: "the request is not understood",
};

/** A request as netns-helper/protocol.h lays it out. */
export function encodeRequest({ pid, startTime, pod }: PodProcess, known: bigint): Buffer {
  const request = Buffer.alloc(REQUEST_BYTES);
  request.writeUInt32LE(REQUEST_MAGIC, 0);
  request.writeUInt32LE(VERSION, 4);
  request.writeInt32LE(pid, 8);
  request.writeBigUInt64LE(BigInt(startTime), 16);
  request.writeBigUInt64LE(known, 24);
  // One byte is left for the NUL at the end.
  request.write(pod, 32, POD_BYTES - 1, "latin1");
  return request;
}

/**
 * Reads a reply. The descriptors are the caller's, whatever it is.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SOCKET_SQUATTED` when another process has a socket's name.
 * @throws {@link ShimmyError} `SHIMMY_ERR_NOT_ATTESTED` when the helper refused.
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when the kernel did.
 * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` for what is no reply.
 */
export function decodeReply(data: Buffer, fds: readonly Fd[], process: PodProcess): Entered {
  const { pid, pod } = process;
  const isReply =
    data.length === REPLY_BYTES &&
    data.readUInt32LE(0) === REPLY_MAGIC &&
    data.readUInt32LE(4) === VERSION;
  if (!isReply) throw misuse("not a reply");
  const result = data.readInt32LE(8);
  const [api, fd] = fds;
  if (result === OPENED && api !== undefined && fd !== undefined) {
    return { kind: "opened", namespace: data.readBigUInt64LE(16), api, fd };
  }
  if (result === SAME) return { kind: "same" };
  if (result === NAME_TAKEN) {
    throw new ShimmyError(
      "SHIMMY_ERR_SOCKET_SQUATTED",
      `a process in pod ${pod} listens on @shimmy/api or @shimmy/fd, which are the agent's`,
    );
  }
  const refusal = REFUSALS[result];
  const about = `namespace of process ${pid} for pod ${pod}`;
  if (refusal !== undefined) {
    throw new ShimmyError("SHIMMY_ERR_NOT_ATTESTED", `${about}: ${refusal}`);
  }
  throw new ShimmyError("SHIMMY_ERR_SYSTEM", `${about}: error ${data.readInt32LE(12)}`);
}

/**
 * The program that enters pods' network namespaces for the agent, which may not.
 *
 * One request a connection; the helper keeps nothing, so nothing is lost when it is started again.
 */
export class NetnsHelper {
  readonly #options: NetnsHelperOptions;

  constructor(options: NetnsHelperOptions) {
    this.#options = options;
  }

  /**
   * Has both sockets of a pod made in the network namespace of one of its processes.
   *
   * @param known - Inode of the namespace in which the pod has its sockets, 0 when it has none.
   * @throws {@link ShimmyError} As {@link decodeReply}; `SHIMMY_ERR_SYSTEM` or `SHIMMY_ERR_TIMEOUT`
   * also when the helper does not answer.
   */
  async enter(process: PodProcess, known: bigint): Promise<Entered> {
    const socket = await this.#options.connect(this.#options.path);
    try {
      requireHelper(socket);
      return await this.#ask(socket, process, known);
    } finally {
      socket.close();
    }
  }

  #ask(socket: MessageSocket, process: PodProcess, known: bigint): Promise<Entered> {
    const { promise, resolve, reject } = Promise.withResolvers<Entered>();
    const cancel = this.#options.clock.after(TIMEOUT_MS, () => {
      reject(new ShimmyError("SHIMMY_ERR_TIMEOUT", `no reply in ${TIMEOUT_MS} ms`));
    });
    let isAnswered = false;
    socket.start({
      onMessage: (data, fds) => {
        const left = new Set(fds);
        try {
          if (isAnswered) throw misuse("second reply");
          isAnswered = true;
          const entered = decodeReply(data, fds, process);
          if (entered.kind === "opened") {
            left.delete(entered.api);
            left.delete(entered.fd);
          }
          resolve(entered);
        } catch (err) {
          reject(err);
        } finally {
          for (const fd of left) fd.close();
        }
      },
      onClose: (err) => {
        reject(err ?? new ShimmyError("SHIMMY_ERR_CLOSED", "the helper closed the connection"));
      },
    });
    socket.send(encodeRequest(process, known));
    return promise.finally(cancel);
  }
}

/** Whoever makes the sockets could stand in for the agent in every pod. */
function requireHelper({ peer }: MessageSocket): void {
  if (peer.uid === 0 || peer.uid === process.geteuid?.()) return;
  throw new ShimmyError("SHIMMY_ERR_NOT_ATTESTED", `user ${peer.uid} serves the helper's socket`);
}

function misuse(what: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", `the helper of network namespaces sent ${what}`);
}
