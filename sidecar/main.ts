import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";

import { ABSTRACT_AGENT_DIR, ABSTRACT_FD_SOCKET, FD_SOCKET } from "../agent/api.ts";
import { AdminServer, formatAddress } from "../common/admin-server.ts";
import { systemClock, type Clock } from "../common/clock.ts";
import type { ListenAddress } from "../common/env-parsers.ts";
import { ShimmyError } from "../common/errors.ts";
import type { Logger } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import type { RelayDrainResult } from "../shm-core/lib/relay.ts";
import type { SidecarConfig } from "./env.ts";
import { systemNative, type AgentSocket, type SidecarNative } from "./native.ts";
import { createRoutes, statusOf } from "./routes.ts";
import { Sidecar } from "./sidecar.ts";
import type { StatusReply } from "./status.ts";
import type { TopicServer } from "./topics/server.ts";
import type { TopicTransport } from "./topics/transport.ts";

/** Options for {@link runSidecar}. */
export interface SidecarOptions {
  /** From `resolveSidecarConfig()`. */
  readonly config: SidecarConfig;
  readonly log: Logger;
  /** @defaultValue the native library */
  readonly native?: SidecarNative;
  /** @defaultValue the process's time */
  readonly clock?: Clock;
  /** How topics over HTTP are reached. @defaultValue the SDK, by the agent's socket */
  readonly topics?: TopicTransport;
}

/** A sidecar that serves. */
export interface RunningSidecar {
  /** Where health, metrics and status are. */
  readonly admin: ListenAddress;
  /** Where topics are, if they are on. */
  readonly topics: readonly ListenAddress[];
  status(): StatusReply;
  /**
   * Is not ready any more, stops accepting, gives connections the configured time to end, and
   * closes everything. A second call gives the promise of the first.
   */
  close(): Promise<RelayDrainResult>;
  /** Closes everything now; connections are reset. */
  abort(): Promise<void>;
}

/**
 * Starts a sidecar in this process. It does not wait for the agent; `/readyz` does.
 *
 * @returns When every listener is bound.
 * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE`, `SHIMMY_ERR_ADDRESS_NOT_AVAILABLE` or
 * `SHIMMY_ERR_SYSTEM` when an upstream or the admin address cannot be listened on.
 * @throws {@link ShimmyError} `SHIMMY_ERR_NATIVE_MISSING` when there is no addon.
 */
export async function runSidecar(options: SidecarOptions): Promise<RunningSidecar> {
  const { config, log, native = systemNative, clock = systemClock } = options;
  const sidecar = new Sidecar(config, {
    native,
    clock,
    log,
    connect: () => connectToAgent(native, config.agentDir),
    resolve,
  });
  const admin = await listen(sidecar, log);
  const topics = await listenForTopics(sidecar, options).catch(async (err: unknown) => {
    sidecar.stop();
    await admin.close();
    throw err;
  });
  const { namespace, name } = config.pod;
  const started = {
    pod: `${namespace}/${name}`,
    admin: formatAddress(admin.address),
    ...(topics === undefined ? {} : { topics: topics.addresses.map(formatAddress) }),
  };
  log.info({ ...started, version: VERSION, upstreams: config.upstreams.length }, "sidecar started");

  let closed: Promise<RelayDrainResult> | undefined;
  const end = async (): Promise<void> => {
    await topics?.abort();
    sidecar.stop();
    await admin.close();
  };
  const drainAndEnd = async (): Promise<RelayDrainResult> => {
    log.info({ timeoutMs: config.drainTimeoutMs }, "draining");
    const [result] = await Promise.all([sidecar.drain(), topics?.drain(config.drainTimeoutMs)]);
    log.info(result, "sidecar stopped");
    await end();
    return result;
  };
  return {
    admin: admin.address,
    topics: topics?.addresses ?? [],
    status: () => statusOf(sidecar),
    close: () => (closed ??= drainAndEnd()),
    abort: end,
  };
}

/**
 * Runs a sidecar until it is told to stop: SIGTERM and SIGINT drain it, a second one ends the
 * process at once. SIGHUP is ignored, so that closing a terminal does not cut connections.
 *
 * @returns The exit code.
 * @throws {@link ShimmyError} As {@link runSidecar}.
 */
export async function serveSidecar(options: SidecarOptions): Promise<number> {
  const sidecar = await runSidecar(options);
  let isStopping = false;
  process.on("SIGHUP", () => undefined);
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        if (isStopping) process.exit(1);
        isStopping = true;
        options.log.info({ signal }, "told to stop");
        resolve();
      });
    }
  });
  await sidecar.close();
  return 0;
}

async function listen(sidecar: Sidecar, log: Logger): Promise<AdminServer> {
  try {
    const { adminAddress } = sidecar.config;
    return await AdminServer.listen({ ...adminAddress, routes: createRoutes(sidecar), log });
  } catch (err) {
    sidecar.stop();
    throw err;
  }
}

/** @returns `undefined` when topics are off. */
async function listenForTopics(
  { config, topicCounters: counters }: Sidecar,
  { log, native = systemNative, clock = systemClock, topics }: SidecarOptions,
): Promise<TopicServer | undefined> {
  const { topicsAddresses: addresses, topicsPush: push, agentDir } = config;
  if (addresses.length + push.length === 0) return undefined;
  // Where topics are off their code takes no memory.
  const { SdkTransport } = await import("./topics/sdk-transport.ts");
  const { TopicServer: Topics } = await import("./topics/server.ts");
  const transport = new SdkTransport({
    socket: agentDir === ABSTRACT_AGENT_DIR ? "@shimmy/fd" : join(agentDir, FD_SOCKET),
    check: async () => {
      (await connectToAgent(native, agentDir)).close();
    },
  });
  return await Topics.listen({
    addresses,
    push,
    origins: config.topicsOrigins,
    bufferBytes: config.topicsBufferBytes,
    namespace: config.pod.namespace,
    transport: topics ?? transport,
    counters,
    clock,
    log,
  });
}

async function connectToAgent(native: SidecarNative, agentDir: string): Promise<AgentSocket> {
  const isAbstract = agentDir === ABSTRACT_AGENT_DIR;
  const socket = await native.connect(isAbstract ? ABSTRACT_FD_SOCKET : join(agentDir, FD_SOCKET));
  try {
    if (isAbstract) requireOutsider(socket, await readFile(UID_MAP, "utf8"));
    else await requireOwner(socket, agentDir);
    return socket;
  } catch (err) {
    socket.close();
    throw err;
  }
}

/** Whoever may bind there speaks for the agent: root, ourselves, or the directory's owner. */
async function requireOwner({ agentUid }: AgentSocket, agentDir: string): Promise<void> {
  const { uid: owner } = await stat(agentDir);
  if ([0, process.geteuid?.(), owner].includes(agentUid)) return;
  throw new ShimmyError(
    "SHIMMY_ERR_NOT_ATTESTED",
    `user ${agentUid} serves ${agentDir}, which belongs to user ${owner}`,
  );
}

const UID_MAP = "/proc/self/uid_map";
/** user_namespaces(7): in the initial user namespace every user is what it is. */
const IDENTITY_MAP = /^\s*0\s+0\s+4294967295\s*$/;
/** user_namespaces(7): how a user looks that does not exist in ours, as the node's root in a pod's. */
const OVERFLOW_UID = 65_534;

/**
 * Decides whether whom the kernel shows as a peer can be the node's root, outside our PID namespace.
 *
 * @param uidMap - Text of `/proc/self/uid_map`.
 */
export function isNodeRoot(
  { agentPid, agentUid }: Pick<AgentSocket, "agentPid" | "agentUid">,
  uidMap: string,
): boolean {
  if (agentPid !== 0) return false;
  return agentUid === 0 || (agentUid === OVERFLOW_UID && !IDENTITY_MAP.test(uidMap));
}

/**
 * Any process of the pod could bind the agent's names before the agent does. The sockets of the agent
 * are made by root outside our PID namespace, whose processes the kernel shows as number 0. Another
 * container's processes look like that too, but need root for it; docs/architecture.md says what
 * that is worth to them.
 */
function requireOutsider(socket: AgentSocket, uidMap: string): void {
  if (isNodeRoot(socket, uidMap)) return;
  const { agentPid, agentUid } = socket;
  const who = agentPid === 0 ? `user ${agentUid}` : `process ${agentPid} of this container`;
  throw new ShimmyError(
    "SHIMMY_ERR_SOCKET_SQUATTED",
    `${who} listens on @shimmy/fd, which is the agent's`,
  );
}

async function resolve(host: string): Promise<readonly string[]> {
  const { lookup } = await import("node:dns/promises");
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
