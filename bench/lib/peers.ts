// The paths that are compared: direct TCP, pairs of proxies, and Shimmy.
//
// A pair is what a mesh has: one proxy on the client's side, one on the server's, two processes
// of one worker each, all on loopback. Their configurations are in bench/peers.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { APP_PORTS } from "./apps.ts";
import type { CpuRole } from "./cpu.ts";
import { findEnvoy } from "./envoy.ts";
import { firstLine } from "./machine.ts";
import { freePorts } from "./ports.ts";
import { fillTemplate } from "./template.ts";
import type { Workspace } from "./workspace.ts";

/** Something to connect to. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** What Shimmy's own counters say about the connections of a run. */
export interface Carriage {
  /** Connections that shared memory carried. */
  readonly carried: number;
  /** Connections that went over plain TCP instead. */
  readonly fellBack: number;
}

/** A path from the load generator to the servers, up and running. */
export interface Peer {
  readonly name: string;
  /** CPU time of everything between the load generator and the servers; none for direct TCP. */
  readonly role?: CpuRole;
  readonly http: Target;
  /** Undefined where the path cannot carry Redis. */
  readonly redis?: Target;
  /** Counters of both sides; undefined for peers that are not Shimmy. */
  readonly carriage?: () => Promise<Carriage>;
  /** Processes of both sides, client's first. */
  readonly pids: readonly number[];
}

/** Debian packs nginx's stream module apart; bench/peers/nginx-stream.conf loads it from here. */
const STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so";

/** The pairs of proxies, by name. */
export const PROXY_NAMES = ["haproxy", "nginx_stream", "envoy_tcp", "envoy_http"] as const;

/** One of the pairs of proxies. */
export type ProxyName = (typeof PROXY_NAMES)[number];

interface ProxyKind {
  readonly template: string;
  readonly carriesRedis: boolean;
  /** Argument vector for a configuration file, or why there is none. */
  readonly command: (config: string, id: number) => readonly string[] | undefined;
}

const KINDS: Readonly<Record<ProxyName, ProxyKind>> = {
  haproxy: {
    template: "haproxy-tcp.cfg",
    carriesRedis: true,
    command: (config) =>
      firstLine("haproxy", ["-v"]) === undefined ? undefined : ["haproxy", "-db", "-f", config],
  },
  nginx_stream: {
    template: "nginx-stream.conf",
    carriesRedis: true,
    command: (config) => (existsSync(STREAM_MODULE) ? ["nginx", "-c", config] : undefined),
  },
  envoy_tcp: { template: "envoy-tcp.yaml", carriesRedis: true, command: envoyCommand },
  envoy_http: { template: "envoy-http.yaml", carriesRedis: false, command: envoyCommand },
};

/** Base ids keep Envoys apart that run on one machine; these leave others' alone. */
const ENVOY_BASE_ID = 7100;
const LOOPBACK = "127.0.0.1";

function envoyCommand(config: string, id: number): readonly string[] | undefined {
  const binary = findEnvoy();
  if (binary === undefined) return undefined;
  const baseId = String(ENVOY_BASE_ID + id);
  const flags = ["--concurrency", "1", "--base-id", baseId, "--log-level", "error"];
  return [binary, "-c", config, ...flags];
}

/** No proxy at all: the load generator connects to the servers. */
export function directPeer(host: string): Peer {
  return {
    name: "direct",
    http: { host, port: APP_PORTS.http },
    redis: { host, port: APP_PORTS.redis },
    pids: [],
  };
}

/**
 * Starts a pair of proxies in front of the servers on `host`.
 *
 * @returns undefined when its program cannot be had on this machine.
 */
export async function startProxyPair(
  workspace: Workspace,
  name: ProxyName,
  host: string,
): Promise<Peer | undefined> {
  const ports = await freePorts(LOOPBACK, 4);
  const [clientHttp, clientRedis, serverHttp, serverRedis] = ports.map((port) => ({
    host: LOOPBACK,
    port,
  })) as [Target, Target, Target, Target];
  const app = { http: { host, port: APP_PORTS.http }, redis: { host, port: APP_PORTS.redis } };
  const server = { http: serverHttp, redis: serverRedis };
  const client = { http: clientHttp, redis: clientRedis };
  const serverPid = await startProxy(workspace, { name, side: "server", at: server, next: app });
  const clientPid = await startProxy(workspace, { name, side: "client", at: client, next: server });
  if (serverPid === undefined || clientPid === undefined) return undefined;
  return {
    name,
    role: workspace.cpu.role(name),
    http: client.http,
    ...(KINDS[name].carriesRedis ? { redis: client.redis } : {}),
    pids: [clientPid, serverPid],
  };
}

interface Ends {
  readonly http: Target;
  readonly redis: Target;
}

interface ProxyOptions {
  readonly name: ProxyName;
  readonly side: "client" | "server";
  readonly at: Ends;
  readonly next: Ends;
}

async function startProxy(
  workspace: Workspace,
  { name, side, at, next }: ProxyOptions,
): Promise<number | undefined> {
  const { template, command } = KINDS[name];
  const processName = `${name}-${side}`;
  const config = workspace.path(`${side}-${template}`);
  const text = readFileSync(join(import.meta.dirname, "../peers", template), "utf8");
  writeFileSync(
    config,
    fillTemplate(text, {
      DIRECTORY: workspace.directory,
      NAME: processName,
      ...targetValues("HTTP_LISTEN", at.http),
      ...targetValues("HTTP_NEXT", next.http),
      ...targetValues("REDIS_LISTEN", at.redis),
      ...targetValues("REDIS_NEXT", next.redis),
    }),
  );
  const id = PROXY_NAMES.indexOf(name) * 2 + (side === "client" ? 1 : 0);
  const argv = command(config, id);
  if (argv === undefined) return undefined;
  const daemon = workspace.start({ name: processName, role: workspace.cpu.role(name), argv });
  await workspace.waitForPort(daemon, at.http.host, at.http.port);
  return daemon.pid;
}

function targetValues(prefix: string, { host, port }: Target): Record<string, string> {
  return {
    [prefix]: `${host}:${port}`,
    [`${prefix}_HOST`]: host,
    [`${prefix}_PORT`]: String(port),
  };
}
