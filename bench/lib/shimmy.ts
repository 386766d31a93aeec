// Shimmy in its production form: an agent and two sidecars from dist/, in local mode, and the
// few names of theirs that benches rely on.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { APP_PORTS } from "./apps.ts";
import type { Carriage, Peer, Target } from "./peers.ts";
import { freePorts } from "./ports.ts";
import type { Daemon, Workspace } from "./workspace.ts";

const MAIN = join(import.meta.dirname, "../../dist/cli/main.js");
const LOOPBACK = "127.0.0.1";

/**
 * Addresses of the two pods; the servers listen on the second one. Not of the range that `shimmy`
 * gives to pods, so that a demo or a test may run at the same time.
 */
export const POD_ADDRESSES = { client: "127.0.37.2", server: "127.0.37.3" } as const;

/** What the benches read of a sidecar's metrics. */
const METRICS = {
  /** Connections of the pod's own app, by what carried them. */
  connections: "shimmy_connections_total",
  /** Connections that were not carried by shared memory, by reason. */
  fallbacks: "shimmy_fallbacks_total",
} as const;

/** How to start Shimmy. */
export interface ShimmyOptions {
  /** Name of the peer. */
  readonly name: string;
  /** How long the relay spins before it sleeps. @defaultValue what Shimmy ships with */
  readonly spinMicros?: number;
}

/** Shimmy up and running, as a peer and with its processes. */
export interface ShimmyPeer extends Peer {
  readonly carriage: () => Promise<Carriage>;
  stop(): Promise<void>;
}

/**
 * Starts an agent and the sidecars of a client and a server pod.
 *
 * @throws Error when dist/ was not built, or a process does not become ready.
 */
export async function startShimmy(
  workspace: Workspace,
  { name, spinMicros }: ShimmyOptions,
): Promise<ShimmyPeer> {
  if (!existsSync(MAIN)) throw new Error("dist/ is not there: run `npm run build` first");
  const role = workspace.cpu.role(name);
  const directory = workspace.path(name);
  mkdirSync(directory, { recursive: true });
  const catalog = join(directory, "catalog.yaml");
  const runtime = join(directory, "run");
  writeFileSync(catalog, catalogText());
  const env = spinMicros === undefined ? {} : { SHIMMY_SPIN_MICROS: String(spinMicros) };

  const agent = workspace.start({
    name: `${name}-agent`,
    role,
    argv: nodeCommand("agent"),
    env: { SHIMMY_CATALOG: catalog, SHIMMY_RUNTIME_DIR: runtime, SHIMMY_LOG_LEVEL: "warn" },
  });
  const sockets = join(runtime, "pods/default/web-1/fd.sock");
  await workspace.waitUntil(agent, sockets, () => Promise.resolve(existsSync(sockets)));

  const ports = await freePorts(LOOPBACK, 4);
  const [http = 0, redis = 0, clientAdmin = 0, serverAdmin = 0] = ports;
  const start = (pod: string, admin: number, upstreams: string): Daemon =>
    workspace.start({
      name: `${name}-${pod}`,
      role,
      argv: nodeCommand("sidecar"),
      env: {
        SHIMMY_POD: `default/${pod}`,
        SHIMMY_AGENT_DIR: join(runtime, "pods/default", pod),
        SHIMMY_ADMIN_ADDRESS: `${LOOPBACK}:${admin}`,
        SHIMMY_LISTEN_ADDRESSES: LOOPBACK,
        SHIMMY_LOG_LEVEL: "warn",
        ...(upstreams === "" ? {} : { SHIMMY_UPSTREAMS: upstreams }),
        ...env,
      },
    });
  const server = start("web-1", serverAdmin, "");
  const client = start("client-1", clientAdmin, `web:${http}, cache:${redis}`);
  await waitReady(workspace, server, serverAdmin);
  await waitReady(workspace, client, clientAdmin);

  const peer: ShimmyPeer = {
    name,
    role,
    http: { host: LOOPBACK, port: http },
    redis: { host: LOOPBACK, port: redis },
    pids: [client.pid, server.pid],
    carriage: () => readCarriage({ host: LOOPBACK, port: clientAdmin }),
    async stop() {
      await Promise.all([client.stop(), server.stop()]);
      await agent.stop();
    },
  };
  await waitCarried(workspace, client, peer);
  return peer;
}

/** Sums a metric of a Prometheus text over all label sets that hold `labels`. */
export function sumMetric(
  text: string,
  metric: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  let sum = 0;
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (match?.[1] !== metric) continue;
    const pairs = match[2] ?? "";
    const isWanted = Object.entries(labels).every(([key, value]) =>
      `,${pairs}`.includes(`,${key}="${value}"`),
    );
    if (isWanted) sum += Number(match[3]);
  }
  return sum;
}

function nodeCommand(command: "agent" | "sidecar"): readonly string[] {
  return [process.execPath, MAIN, command];
}

function catalogText(): string {
  const { uid } = userInfo();
  return `node: bench
pods:
  - { name: client-1, address: ${POD_ADDRESSES.client}, runAs: [${uid}] }
  - { name: web-1, address: ${POD_ADDRESSES.server}, runAs: [${uid}], ports: [${APP_PORTS.http}, ${APP_PORTS.redis}] }
services:
  - { name: web, ports: [{ name: http, port: ${APP_PORTS.http} }], pods: [web-1] }
  - { name: cache, ports: [{ name: redis, port: ${APP_PORTS.redis} }], pods: [web-1] }
`;
}

async function waitReady(workspace: Workspace, sidecar: Daemon, admin: number): Promise<void> {
  const url = `http://${LOOPBACK}:${admin}/readyz`;
  await workspace.waitUntil(sidecar, url, async () => {
    try {
      const response = await fetch(url);
      await response.arrayBuffer();
      return response.ok;
    } catch {
      return false; // not listening yet
    }
  });
}

// Readiness comes before the session with the peer: the first connections may go over TCP.
async function waitCarried(workspace: Workspace, sidecar: Daemon, peer: ShimmyPeer): Promise<void> {
  await workspace.waitUntil(sidecar, "a connection carried by shared memory", async () => {
    const response = await fetch(`http://${peer.http.host}:${peer.http.port}/43b`, {
      headers: { connection: "close" },
    });
    await response.arrayBuffer();
    return (await peer.carriage()).carried > 0;
  });
}

async function readCarriage({ host, port }: Target): Promise<Carriage> {
  const text = await (await fetch(`http://${host}:${port}/metrics`)).text();
  return {
    carried: sumMetric(text, METRICS.connections, { direction: "outbound", transport: "shm" }),
    fellBack: sumMetric(text, METRICS.fallbacks),
  };
}
