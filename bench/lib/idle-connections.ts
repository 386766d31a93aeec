import { connect, type Socket } from "node:net";
import type { Target } from "./peers.ts";

/** Connections opened at the same time; more would overflow somebody's backlog. */
const BATCH = 50;
const ANSWER_TIMEOUT_MS = 10_000;

/** Connections that each carried one request and then stay open, doing nothing. */
export class IdleConnections implements Disposable {
  readonly #sockets: Socket[] = [];

  /**
   * Opens `count` connections and fetches `path` once over each.
   *
   * @throws Error when one of them fails or gives no answer in time.
   */
  static async open(target: Target, path: string, count: number): Promise<IdleConnections> {
    const connections = new IdleConnections();
    try {
      while (connections.#sockets.length < count) {
        const left = count - connections.#sockets.length;
        const batch = Array.from({ length: Math.min(BATCH, left) }, () =>
          connections.#openOne(target, path),
        );
        await Promise.all(batch);
      }
    } catch (err) {
      connections[Symbol.dispose]();
      throw err;
    }
    return connections;
  }

  /**
   * Checks that all of them are open still.
   *
   * @throws Error when one is not.
   */
  assertOpen(): void {
    const closed = this.#sockets.filter(({ readyState }) => readyState !== "open").length;
    if (closed > 0) throw new Error(`${closed} idle connections were closed by their peer`);
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #openOne(target: Target, path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(target);
      this.#sockets.push(socket);
      const timer = setTimeout(() => {
        reject(
          new Error(`no answer from ${target.host}:${target.port} in ${ANSWER_TIMEOUT_MS} ms`),
        );
      }, ANSWER_TIMEOUT_MS);
      socket.once("connect", () => {
        socket.write(`GET ${path} HTTP/1.1\r\nHost: ${target.host}\r\n\r\n`);
      });
      socket.once("error", reject);
      socket.once("close", () => {
        reject(new Error("an idle connection was closed by its peer"));
      });
      // The body is small: it comes in one piece with the headers, or right behind them.
      socket.once("data", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
