import { Option, type Command } from "commander";
import { join } from "node:path";

import { ADMIN_SOCKET } from "../agent/api.ts";
import { ShimmyError } from "../common/errors.ts";
import { ExitCode, type Finish } from "./command.ts";
import { StopRequest, daemonExitCode } from "./daemon.ts";
import { Screen } from "./screen.ts";
import { explainApiError, openCluster } from "./cluster/cluster.ts";
import { NAMES } from "./cluster/kinds.ts";
import { refused, requireSeconds } from "./run/plan.ts";
import { takeClusterSnapshot } from "./top/cluster-source.ts";
import { findRuntimeDir } from "./top/find.ts";
import { socketSource, takeSnapshot, type TopSnapshot } from "./top/snapshot.ts";
import { renderTop } from "./top/view.ts";

const HELP = `
Pods, their streams, sessions and fallbacks, from the agent's node-wide socket and, where they can be
reached, the sidecars' own counters. Without --runtime-dir it takes /run/shimmy, or the one
\`shimmy run\` or \`shimmy demo\` that is running. In a terminal: q or ctrl-C ends it.

With --node or --namespace it asks the agents of a Kubernetes cluster through the API server. You need
to list pods, and get pods/proxy in the namespaces of Shimmy and of the pods that are shown.

Examples:
  $ shimmy top
  $ shimmy top --once
  $ shimmy top --json | jq .streams
  $ shimmy top --node worker-1
  $ shimmy top --namespace shop --once

Reasons of fallbacks: docs/reference/reasons.md.`;

interface TopFlags {
  readonly runtimeDir?: string;
  readonly adminPort: string;
  readonly interval: string;
  readonly once?: true;
  readonly json?: true;
  readonly node?: string;
  readonly namespace?: string;
  readonly kubeconfig?: string;
  readonly systemNamespace: string;
}

/** How the table is made, again and again. */
interface Look extends AsyncDisposable {
  take(): Promise<TopSnapshot>;
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
    .option("--node <name>", "of a cluster: the pods of this node")
    .option("-n, --namespace <name>", "of a cluster: the pods of this namespace, on all nodes")
    .option("--kubeconfig <file>", "of a cluster, instead of KUBECONFIG or ~/.kube/config")
    .option("--system-namespace <name>", "where Shimmy is installed", NAMES.namespace)
    .addHelpText("after", HELP)
    .action(async (flags: TopFlags) => {
      finish(await top(flags));
    });
}

async function top(flags: TopFlags): Promise<number> {
  const intervalMs = requireSeconds("--interval", flags.interval) * 1000;
  await using look = await openLook(flags);
  const first = await look.take();
  if (flags.json === true) {
    process.stdout.write(`${JSON.stringify(first, undefined, 2)}\n`);
    return ExitCode.ok;
  }
  if (flags.once === true || !process.stdout.isTTY) {
    process.stdout.write(`${renderTop(first).join("\n")}\n`);
    return ExitCode.ok;
  }
  return await watch(first, intervalMs, () => look.take());
}

async function openLook(flags: TopFlags): Promise<Look> {
  const { node, namespace, kubeconfig, systemNamespace } = flags;
  const adminPort = Number(flags.adminPort);
  if (node === undefined && namespace === undefined) {
    if (kubeconfig !== undefined) throw refused("--kubeconfig needs --node or --namespace");
    return localLook(flags.runtimeDir ?? (await findRuntimeDir()), adminPort);
  }
  const open = await openCluster(kubeconfig);
  const scope = { systemNamespace, adminPort, node, namespace };
  return {
    take: () =>
      takeClusterSnapshot(open.cluster, scope).catch((err: unknown) => {
        throw explainApiError(err, open.cluster.server);
      }),
    [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
  };
}

function localLook(runtimeDir: string, adminPort: number): Look {
  const socketPath = join(runtimeDir, ADMIN_SOCKET);
  return {
    take: async () => {
      const snapshot = await takeSnapshot(socketSource(socketPath, adminPort));
      if (snapshot !== undefined) return snapshot;
      throw new ShimmyError("SHIMMY_ERR_AGENT_UNAVAILABLE", `no agent answers on ${socketPath}`);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
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
