// How the two processes of a ping-pong in TypeScript get at their ends.
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { OwnedFd } from "../../shm-core/lib/owned-fd.ts";
import { Stream, streamPair, type WaitMode } from "../../shm-core/lib/stream.ts";
import type { Carrier, Waiting } from "./ping-end.ts";

/** What both processes are told. */
export interface MeetOptions {
  readonly transport: "tcp" | "unix" | "ring";
  readonly waiting: Waiting;
  readonly size: number;
  /** Where the Unix socket goes. */
  readonly directory: string;
}

type SocketAddress = { readonly port: number } | { readonly path: string };

const MODES: Readonly<Record<Waiting, WaitMode>> = {
  spin: "spin",
  default: "adaptive",
  sleep: "sleep",
};
/** As in bench/native/ring_ping.cc. */
const SMALLEST_RING = 16_384;
const LARGEST_RING = 1_048_576;
/** Descriptors of the child: standard ones, the channel of fork(), then ours. */
const RING_FDS = [4, 5] as const;
const STATE_VARIABLE = "PING_STREAM_STATE";

/** The parent's end, and the child that runs `program` with the parent's arguments and `flag`. */
export async function meetChild(
  options: MeetOptions,
  program: string,
  flag: string,
): Promise<{ carrier: Carrier; child: ChildProcess }> {
  const argv = [flag, ...process.argv.slice(2)];
  if (options.transport === "ring") return startWithStream(options, program, argv);
  const child = fork(program, argv, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const [address] = (await Promise.race([
    once(child, "message"),
    once(child, "exit").then(() => Promise.reject(new Error("the other process ended"))),
  ])) as [SocketAddress];
  return { carrier: await connectTo(address), child };
}

/**
 * Pins the main thread to a core of its own, as two processes that spin need. Only once the ends
 * are open: Shimmy does not spin in a process that may use one core only.
 */
export function pinMainThread(core: 0 | 1): void {
  execFileSync("taskset", ["-cp", String(core), String(process.pid)], { stdio: "ignore" });
}

/** The child's end. */
export async function meetParent(options: MeetOptions): Promise<Carrier> {
  if (options.transport !== "ring") {
    const socket = await listenOnce(options, (address) => process.send?.(address));
    process.disconnect();
    return socket;
  }
  process.disconnect();
  const [doorbell, peerHalf] = RING_FDS;
  const state = Buffer.from(process.env[STATE_VARIABLE] ?? "", "base64");
  const fds = [new OwnedFd(doorbell), new OwnedFd(peerHalf)] as const;
  return Stream.attach(fds, state, { mode: MODES[options.waiting] });
}

function startWithStream(
  options: MeetOptions,
  program: string,
  argv: readonly string[],
): { carrier: Carrier; child: ChildProcess } {
  const { size, waiting } = options;
  const enough = 2 ** Math.ceil(Math.log2(2 * size));
  const capacityBytes = Math.min(LARGEST_RING, Math.max(SMALLEST_RING, enough));
  const [mine, theirs] = streamPair({ capacityBytes, mode: MODES[waiting] });
  const { fds, state } = theirs.detach();
  const child = fork(program, [...argv], {
    stdio: ["ignore", "inherit", "inherit", "ipc", fds[0].number, fds[1].number],
    env: { ...process.env, [STATE_VARIABLE]: state.toString("base64") },
  });
  for (const fd of fds) fd.close();
  return { carrier: mine, child };
}

function connectTo(address: SocketAddress): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect("port" in address ? { ...address, host: "127.0.0.1" } : address);
    socket.pause();
    socket.setNoDelay(true);
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

function listenOnce(
  { transport, directory }: MeetOptions,
  onListening: (address: SocketAddress) => void,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      server.close();
      resolve(socket);
    });
    server.once("error", reject);
    const path = `${directory}/ping-${process.pid}.sock`;
    server.listen(transport === "tcp" ? { port: 0, host: "127.0.0.1" } : { path }, () => {
      const bound = server.address();
      if (bound === null) reject(new Error("not listening"));
      else onListening(typeof bound === "string" ? { path: bound } : { port: bound.port });
    });
  });
}
