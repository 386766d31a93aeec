import { Option, type Command } from "commander";
import { join } from "node:path";

import { ADMIN_SOCKET } from "../agent/api.ts";
import { ShimmyError } from "../common/errors.ts";
import { ExitCode, type Finish } from "./command.ts";
import { StopRequest, daemonExitCode } from "./daemon.ts";
import { Screen } from "./screen.ts";
import { findRuntimeDir } from "./top/find.ts";
import { takeSnapshot, type TopSnapshot } from "./top/snapshot.ts";
import { renderTop } from "./top/view.ts";
import { requireSeconds } from "./run/plan.ts";

const HELP = `
Pods, their streams, sessions and fallbacks, from the agent's node-wide socket and, where they can be
reached, the sidecars' own counters. Without --runtime-dir it takes /run/shimmy, or the one
\`shimmy run\` or \`shimmy demo\` that is running. In a terminal: q or ctrl-C ends it.

Examples:
  $ shimmy top
  $ shimmy top --once
  $ shimmy top --json | jq .streams

Reasons of fallbacks: docs/reference/reasons.md.`;

interface TopFlags {
  readonly runtimeDir?: string;
  readonly adminPort: string;
  readonly interval: string;
  readonly once?: true;
  readonly json?: true;
}

/** `shimmy top`. */
export function define(command: Command, finish: Finish): void {
  command
    .addOption(
      new Option("--runtime-dir <dir>", "the agent's runtime directory").env("SHIMMY_RUNTIME_DIR"),
    )
    .option("--admin-port <port>", "port of the sidecars' admin pages on their pods", "14790")
    .option("--interval <seconds>", "time between two looks", "1")
    .option("--once", "print once and end; the rule when output is not a terminal")
    .option("--json", "print everything once, as JSON")
    .addHelpText("after", HELP)
    .action(async (flags: TopFlags) => {
      finish(await top(flags));
    });
}

async function top(flags: TopFlags): Promise<number> {
  const intervalMs = requireSeconds("--interval", flags.interval) * 1000;
  const runtimeDir = flags.runtimeDir ?? (await findRuntimeDir());
  const socketPath = join(runtimeDir, ADMIN_SOCKET);
  const look = async (): Promise<TopSnapshot> => {
    const snapshot = await takeSnapshot(socketPath, Number(flags.adminPort));
    if (snapshot !== undefined) return snapshot;
    throw new ShimmyError("SHIMMY_ERR_AGENT_UNAVAILABLE", `no agent answers on ${socketPath}`);
  };
  const first = await look();
  if (flags.json === true) {
    process.stdout.write(`${JSON.stringify(first, undefined, 2)}\n`);
    return ExitCode.ok;
  }
  if (flags.once === true || !process.stdout.isTTY) {
    process.stdout.write(`${renderTop(first).join("\n")}\n`);
    return ExitCode.ok;
  }
  return watch(first, intervalMs, look);
}

async function watch(
  first: TopSnapshot,
  intervalMs: number,
  look: () => Promise<TopSnapshot>,
): Promise<number> {
  using stop = new StopRequest();
  using screen = new Screen();
  let before: TopSnapshot | undefined;
  let now = first;
  for (;;) {
    screen.show(renderTop(now, before));
    const timer = Promise.withResolvers<undefined>();
    const timeout = setTimeout(() => {
      timer.resolve(undefined);
    }, intervalMs);
    const event = await Promise.race([stop.received, screen.quit, timer.promise]);
    clearTimeout(timeout);
    if (event === "quit") return ExitCode.ok;
    if (event !== undefined) return daemonExitCode(event);
    before = now;
    now = await look();
  }
}
