/** What tests of control sockets share: sockets that are closed, and every test a leak check. */
import { expect } from "chai";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import type { ShimmyError } from "../../../../common/errors.ts";
import {
  ControlServer,
  ControlSocket,
  type OwnedFd,
  socketPair,
} from "../../../../shm-core/lib/control-socket.ts";

/** One message. */
export interface Received {
  readonly text: string;
  readonly fds: OwnedFd[];
}

/** Keeps what a socket receives, for tests to wait for. */
export class Inbox {
  readonly messages: Received[] = [];
  readonly errors: (ShimmyError | undefined)[] = [];
  #changed = Promise.withResolvers<undefined>();

  constructor(socket: ControlSocket) {
    socket.onMessage = (data, fds) => {
      this.messages.push({ text: data.toString(), fds });
      this.#wake();
    };
    socket.onClose = (err) => {
      this.errors.push(err);
      this.#wake();
    };
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.#changed.promise;
  }

  async message(): Promise<Received> {
    await this.until(() => this.messages.length > 0);
    const first = this.messages.shift();
    if (first === undefined) throw new Error("no message");
    return first;
  }

  async end(): Promise<ShimmyError | undefined> {
    await this.until(() => this.errors.length > 0);
    return this.errors[0];
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve(undefined);
  }
}

/** Descriptors of the kinds that these tests open and pass; Node has others of its own. */
export function openFds(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith("socket:") || target === "/dev/zero" ? [target] : [];
    } catch {
      return [];
    }
  });
}

/** Fails unless the number of open descriptors comes back to `expected` soon. */
export async function expectOpenFds(expected: number): Promise<void> {
  for (let i = 0; i < 200 && openFds().length !== expected; i++) await delay(5);
  expect(openFds()).to.have.lengthOf(expected);
}

/** Code of the error that `act` throws. */
export function codeOf(act: () => unknown): string | undefined {
  try {
    act();
  } catch (err) {
    return (err as ShimmyError).code;
  }
  return undefined;
}

let nextName = 0;
/** A name of an abstract socket that no other test has. */
export function abstractName(): string {
  return `\0shimmy-test-${process.pid}-${nextName++}`;
}

/** Makes sockets that are closed after each test. */
export interface ControlSocketTests {
  /** A folder of the test's own. */
  readonly folder: () => string;
  /** Remembers something to close, and returns it. */
  readonly track: <T extends Disposable>(item: T) => T;
  readonly pair: () => [ControlSocket, ControlSocket];
  readonly listen: (path: string, sockets?: ControlSocket[]) => ControlServer;
  readonly connect: (path: string, timeoutMs?: number) => Promise<ControlSocket>;
}

/** To be called in a `describe()`: closes what its tests open, and fails those that leak. */
export function useControlSockets(): ControlSocketTests {
  let cleanup: (() => void)[];
  let folder: string;
  let fdsBefore: number;

  function track<T extends Disposable>(item: T): T {
    cleanup.push(() => {
      item[Symbol.dispose]();
    });
    return item;
  }

  before(function () {
    // The poller's own descriptors exist from the first socket to the end of the process.
    for (const fd of socketPair()) ControlSocket.adopt(fd).close();
  });

  beforeEach(function () {
    cleanup = [];
    folder = mkdtempSync(join(tmpdir(), "shimmy-"));
    fdsBefore = openFds().length;
  });

  afterEach(async function () {
    for (const close of cleanup.reverse()) close();
    rmSync(folder, { recursive: true });
    // Every test is a leak check.
    await expectOpenFds(fdsBefore);
  });

  return {
    folder: () => folder,
    track,
    pair: () => {
      const [a, b] = socketPair();
      return [track(ControlSocket.adopt(a)), track(ControlSocket.adopt(b))];
    },
    listen: (path, sockets = []) =>
      track(ControlServer.listen({ path, onConnection: (socket) => sockets.push(track(socket)) })),
    connect: async (path, timeoutMs) => {
      const options = timeoutMs === undefined ? { path } : { path, timeoutMs };
      return track(await ControlSocket.connect(options));
    },
  };
}
