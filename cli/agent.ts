import type { Command } from "commander";

import { AGENT_CONFIG, resolveAgentConfig, type AgentConfig } from "../agent/env.ts";
import type { OpenCatalog, OpenRegistry } from "../agent/main.ts";
import { DEFAULT_QUOTAS } from "../agent/quotas.ts";
import type { Finish } from "./command.ts";
import { addConfigOptions } from "./config-options.ts";
import { daemonExitCode, StopRequest } from "./daemon.ts";
import { OUR_VARIABLES } from "./variables.ts";

const HELP = `
Every option may be given by its environment variable; an unknown SHIMMY_* variable is refused.

Example:
  $ shimmy agent --catalog catalog.yaml --runtime-dir /tmp/shimmy

The catalog says which pods and services there are: docs/reference/catalog.md. In Kubernetes
--node-name takes its place, and the API server tells the pods.`;

/** `shimmy agent`. */
export function define(command: Command, finish: Finish): void {
  addConfigOptions(command, AGENT_CONFIG);
  command.addHelpText("after", HELP).action(async (flags: Record<string, string>) => {
    finish(await serve(flags));
  });
}

async function serve(flags: Record<string, string>): Promise<number> {
  const config = resolveAgentConfig({ env: process.env, flags, foreign: OUR_VARIABLES });
  using stop = new StopRequest();
  const [{ runAgent }, { createLogger }] = await loadAgent();
  const agent = await runAgent({
    openCatalog: await openCatalogOf(config),
    runtimeDir: config.runtimeDir,
    ...(config.nodeName === undefined ? {} : { netnsHelper: config.netnsHelper }),
    adminAddress: config.adminAddress,
    channelGraceMs: config.channelGrace,
    ...(await openRegistryOf(config)),
    admin: config.admin,
    log: createLogger({ process: "agent", level: config.logLevel }),
    quotas: {
      sessionsPerPod: config.maxSessionsPerPod,
      sessionRequests: {
        ...DEFAULT_QUOTAS.sessionRequests,
        perSecond: config.sessionRequestsPerSecond,
      },
    },
    newestVersion: config.protocolVersion,
  });
  const signal = await stop.received;
  await agent.close();
  return daemonExitCode(signal);
}

/** A file's, or that of a cluster as its API server tells it. */
async function openCatalogOf(config: AgentConfig): Promise<OpenCatalog> {
  if (config.nodeName === undefined) {
    const { catalogFile } = await import("../agent/main.ts");
    return catalogFile(config.catalog);
  }
  const [{ openKubernetesCatalog }, { findClusterAccess }, { ApiClient }] = await Promise.all([
    import("../agent/kubernetes/source.ts"),
    import("../common/kubernetes/access.ts"),
    import("../common/kubernetes/api-client.ts"),
  ]);
  const { nodeName, kubeconfig } = config;
  const access = await findClusterAccess({ kubeconfig, env: process.env });
  const api = new ApiClient(access);
  const { namespace } = access;
  return (deps) => openKubernetesCatalog({ ...deps, nodeName, api, namespace });
}

/** The library of Redis is loaded where it is used only. */
async function openRegistryOf(config: AgentConfig): Promise<{ openRegistry?: OpenRegistry }> {
  const { redisUrl: url, redisUsername: username } = config;
  if (url === undefined) return {};
  const { RedisRegistry } = await import("../agent/channels/redis-registry.ts");
  const { redisPasswordFile: passwordFile, redisCaFile: caFile } = config;
  return {
    openRegistry: (deps) => new RedisRegistry({ ...deps, url, username, passwordFile, caFile }),
  };
}

// Apart from serve(): tsc does not rewrite the extension of an import() inside a function that it
// transforms for `using`.
function loadAgent(): Promise<
  [typeof import("../agent/main.ts"), typeof import("../common/log.ts")]
> {
  return Promise.all([import("../agent/main.ts"), import("../common/log.ts")]);
}
