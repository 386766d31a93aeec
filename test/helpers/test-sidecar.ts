import { join } from "node:path";

import {
  encodeMessage,
  FD_SOCKET,
  parseAgentMessage,
  type AgentMessage,
  type ClientMessage,
} from "../../agent/api.ts";
import { ControlSocket, type OwnedFd } from "../../shm-core/lib/control-socket.ts";
import type { ShimmyError } from "../../common/errors.ts";

/** A message received, and its descriptors, which the test closes. */
export interface Received<T extends AgentMessage = AgentMessage> {
  readonly message: T;
  readonly fds: readonly OwnedFd[];
}

/** A client of a message socket that does what the test says, and nothing else. */
export class TestSidecar {
  readonly received: Received[] = [];
  /** Set when the connection ended; the error, or `undefined` when the agent closed it in order. */
  end: { readonly err: ShimmyError | undefined } | undefined;
  readonly #socket: ControlSocket;
  #wake: () => void = () => undefined;

  private constructor(socket: ControlSocket) {
    this.#socket = socket;
    socket.onClose = (err) => {
      this.end = { err };
      this.#wake();
    };
  }

  /** Connects without a word. */
  static async connect(directory: string): Promise<TestSidecar> {
    const path = join(directory, FD_SOCKET);
    return new TestSidecar(await ControlSocket.connect({ path }));
  }

  /** Connects, says hello as a pod of namespace `default` and waits for the welcome. */
  static async hello(directory: string, name: string): Promise<TestSidecar> {
    const sidecar = await TestSidecar.connect(directory);
    sidecar.read();
    sidecar.sayHello(name);
    await sidecar.next("welcome");
    return sidecar;
  }

  /** Begins to read. */
  read(): void {
    this.#socket.onMessage = (data, fds) => {
      this.received.push({ message: parseAgentMessage(data), fds });
      this.#wake();
    };
  }

  sayHello(name: string): void {
    const pod = { namespace: "default", name };
    const capabilities = { fdPassing: true };
    this.send({ type: "hello", version: 1, pod, pid: process.pid, capabilities });
  }

  send(message: ClientMessage, fds: readonly number[] = []): boolean {
    return this.sendBytes(encodeMessage(message), fds);
  }

  /** @returns `false` when the agent does not take it now, or the connection is over. */
  sendBytes(data: Uint8Array, fds: readonly number[] = []): boolean {
    return this.end === undefined && this.#socket.send(data, fds);
  }

  /** Sends as fast as the agent takes it, until the connection ends or `count` were sent. */
  async flood(record: Uint8Array, count: number): Promise<void> {
    for (let sent = 0; this.end === undefined && sent < count; sent++) {
      // What is not taken waits in a queue of this side, which is closed when it is full.
      if (!this.sendBytes(record)) await new Promise((resolve) => setTimeout(resolve, 5));
      if (sent % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Waits for a message of one of some types and takes it; those of others stay. */
  async next<T extends AgentMessage["type"]>(
    ...types: readonly T[]
  ): Promise<Received<AgentMessage & { type: T }>> {
    const wanted: ReadonlySet<string> = new Set(types);
    for (;;) {
      const position = this.received.findIndex(({ message }) => wanted.has(message.type));
      const [found] = position < 0 ? [] : this.received.splice(position, 1);
      if (found !== undefined) return found as Received<AgentMessage & { type: T }>;
      if (this.end !== undefined)
        throw new Error(`the connection ended before ${types.join(" or ")}`);
      await this.#changed();
    }
  }

  /** Waits for the end of the connection. */
  async ended(): Promise<ShimmyError | undefined> {
    while (this.end === undefined) await this.#changed();
    return this.end.err;
  }

  /** Closes the connection and every descriptor that was not taken. */
  close(): void {
    this.#socket.close();
    for (const { fds } of this.received.splice(0)) for (const fd of fds) fd.close();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
