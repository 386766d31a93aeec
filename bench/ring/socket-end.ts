import { connect, createServer, type Socket } from "node:net";
import { MessageAssembler, type PingEnd } from "./ping-end.ts";

/** Where the two processes of a socket's ping-pong meet: a port on loopback, or a path. */
export type SocketAddress = { readonly port: number } | { readonly path: string };

/** A TCP (no delay) or Unix socket as a ping-pong end: `node:net`, events, no settings. */
export class SocketEnd implements PingEnd {
  onMessage: (message: Buffer) => void = () => undefined;
  onEnd: () => void = () => undefined;
  readonly #socket: Socket;

  constructor(socket: Socket, size: number) {
    this.#socket = socket;
    socket.setNoDelay(true);
    const assembler = new MessageAssembler(size, (message) => {
      this.onMessage(message);
    });
    socket.on("data", (piece: Buffer) => {
      assembler.take(piece);
    });
    socket.once("error", () => socket.destroy());
    socket.once("close", () => {
      this.onEnd();
    });
  }

  send(message: Buffer): void {
    this.#socket.write(message);
  }

  close(): void {
    this.#socket.end();
  }
}

/** Connects to where {@link listenOnce} waits. */
export function connectEnd(address: SocketAddress, size: number): Promise<SocketEnd> {
  return new Promise((resolve, reject) => {
    const socket = connect("port" in address ? { ...address, host: "127.0.0.1" } : address);
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(new SocketEnd(socket, size));
    });
  });
}

/** Waits for one connection. `onListening` gets the address to connect to. */
export function listenOnce(
  transport: "tcp" | { readonly path: string },
  size: number,
  onListening: (address: SocketAddress) => void,
): Promise<SocketEnd> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      server.close();
      resolve(new SocketEnd(socket, size));
    });
    server.once("error", reject);
    const where = transport === "tcp" ? { port: 0, host: "127.0.0.1" } : transport;
    server.listen(where, () => {
      const bound = server.address();
      if (bound === null) reject(new Error("not listening"));
      else onListening(typeof bound === "string" ? { path: bound } : { port: bound.port });
    });
  });
}
