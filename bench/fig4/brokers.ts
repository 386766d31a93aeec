// The brokers that fig4 compares with: real servers, each a process of the run's own on loopback.
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildGo } from "../lib/go.ts";
import { firstLine } from "../lib/machine.ts";
import { freePorts } from "../lib/ports.ts";
import { fillTemplate } from "../lib/template.ts";
import type { Workspace } from "../lib/workspace.ts";
import { BROKERS, type Broker } from "./cells.ts";

const LOOPBACK = "127.0.0.1";
const PEERS = join(import.meta.dirname, "../peers");
const NATS_FOLDER = "bench/fig4/nats-server";
const RABBIT_SCRIPTS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server";

/** Ports of the brokers that run. */
export type BrokerPorts = ReadonlyMap<Broker, number>;

/**
 * Starts the wanted brokers, in the CPU role "broker".
 *
 * @throws Error when one is not installed or does not begin to accept connections.
 */
export async function startBrokers(
  workspace: Workspace,
  wanted: readonly string[],
): Promise<BrokerPorts> {
  const starters = { rabbitmq: startRabbit, redis: startRedis, nats: startNats };
  const ports = new Map<Broker, number>();
  for (const broker of BROKERS.filter((name) => wanted.includes(name))) {
    const [port = 0] = await freePorts(LOOPBACK, 1);
    await starters[broker](workspace, port);
    ports.set(broker, port);
  }
  return ports;
}

/** Versions of the programs, for the notes. */
export function describeBrokers(): string {
  const redis = /v=(\S+)/.exec(firstLine("redis-server", ["--version"]) ?? "")?.[1];
  const rabbit = /rabbitmq_server-([\d.]+)/.exec(findRabbit())?.[1];
  const nats = /nats-server\/v2 v(\S+)/.exec(
    readFileSync(join(import.meta.dirname, "nats-server/go.mod"), "utf8"),
  )?.[1];
  return `RabbitMQ ${rabbit ?? "?"}, Redis ${redis ?? "?"}, NATS ${nats ?? "?"}`;
}

function findRabbit(): string {
  const [script] = globSync(RABBIT_SCRIPTS);
  if (script === undefined) throw new Error("RabbitMQ is not installed: scripts/setup.sh bench");
  return script;
}

function configure(workspace: Workspace, name: string, port: number): string {
  const path = workspace.path(name);
  const text = readFileSync(join(PEERS, name), "utf8");
  writeFileSync(path, fillTemplate(text, { PORT: String(port) }));
  return path;
}

// Erlang nodes find each other through epmd, which goes into the background and stays when a node
// starts it: this one is ours, on a port of its own.
async function startRabbit(workspace: Workspace, port: number): Promise<void> {
  const [epmdPort = 0, distPort = 0] = await freePorts(LOOPBACK, 2);
  const role = workspace.cpu.role("broker");
  const home = workspace.path("rabbitmq");
  mkdirSync(home);
  const env = {
    HOME: home,
    ERL_EPMD_ADDRESS: LOOPBACK,
    ERL_EPMD_PORT: String(epmdPort),
    RABBITMQ_NODENAME: `shimmy-bench-${process.pid}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: LOOPBACK,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_MNESIA_BASE: join(home, "mnesia"),
    RABBITMQ_LOG_BASE: join(home, "log"),
    RABBITMQ_CONFIG_FILE: configure(workspace, "rabbitmq.conf", port),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(home, "enabled_plugins"),
    RABBITMQ_CONF_ENV_FILE: join(home, "none"),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
  };
  writeFileSync(env.RABBITMQ_ENABLED_PLUGINS_FILE, "[].\n");
  const epmd = workspace.start({ name: "epmd", role, argv: ["epmd"], env });
  await workspace.waitForPort(epmd, LOOPBACK, epmdPort);
  const rabbit = workspace.start({ name: "rabbitmq", role, argv: [findRabbit()], env });
  await workspace.waitForPort(rabbit, LOOPBACK, port);
  if (!existsSync(env.RABBITMQ_MNESIA_BASE)) throw new Error("RabbitMQ runs elsewhere");
}

async function startRedis(workspace: Workspace, port: number): Promise<void> {
  const role = workspace.cpu.role("broker");
  const argv = ["redis-server", configure(workspace, "redis-pubsub.conf", port)];
  const redis = workspace.start({ name: "redis", role, argv });
  await workspace.waitForPort(redis, LOOPBACK, port);
}

async function startNats(workspace: Workspace, port: number): Promise<void> {
  const role = workspace.cpu.role("broker");
  const argv = [buildGo(NATS_FOLDER, "nats-server"), "-c", configure(workspace, "nats.conf", port)];
  const nats = workspace.start({ name: "nats", role, argv });
  await workspace.waitForPort(nats, LOOPBACK, port);
}
