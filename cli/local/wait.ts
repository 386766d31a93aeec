import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

import { processFailure, type ManagedProcess } from "./managed-process.ts";

const POLL_MS = 15;

/** What {@link waitUntil} waits for. */
export interface Wait {
  /** The process that is to bring it about. */
  readonly process: ManagedProcess;
  /** What the process has not done when the time is up: `does not accept on 127.0.1.2:8080`. */
  readonly otherwise: string;
  readonly timeoutMs: number;
  readonly condition: () => Promise<boolean>;
}

/**
 * Waits until a condition holds that a starting process brings about.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when the process ends, or the time is up.
 */
export async function waitUntil({ process, otherwise, timeoutMs, condition }: Wait): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (process.ending !== undefined || performance.now() > deadline) {
      throw processFailure(process, otherwise);
    }
    await delay(POLL_MS);
  }
}

/** Whether something accepts TCP connections there. */
export function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1000 });
    const finish = (result: boolean) => (): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", finish(true));
    socket.once("timeout", finish(false));
    socket.once("error", finish(false));
  });
}
