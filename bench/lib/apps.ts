// The servers behind every peer: one nginx and one Redis for all of them, so that a round's
// peers differ in nothing but the path.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fillTemplate } from "./template.ts";
import type { CpuRole } from "./cpu.ts";
import type { Workspace } from "./workspace.ts";

/** Where the servers listen on each address. */
export const APP_PORTS = { http: 8080, redis: 6379 } as const;

/** Bodies that nginx serves, by path. */
export const BODIES = { "/43b": 43, "/10kb": 10_000, "/1mb": 1_000_000 } as const;

/** Starts nginx and Redis on the given addresses. Redis is left out when it is not installed. */
export async function startApps(
  workspace: Workspace,
  addresses: readonly string[],
  hasRedis: boolean,
): Promise<CpuRole> {
  const role = workspace.cpu.role("app");
  writeBodies(workspace);
  const nginx = workspace.start({
    name: "nginx-app",
    role,
    argv: nginxCommand(workspace, addresses),
  });
  for (const address of addresses) await workspace.waitForPort(nginx, address, APP_PORTS.http);
  if (!hasRedis) return role;
  const redis = workspace.start({ name: "redis-app", role, argv: redisCommand(addresses) });
  for (const address of addresses) await workspace.waitForPort(redis, address, APP_PORTS.redis);
  return role;
}

function writeBodies(workspace: Workspace): void {
  mkdirSync(workspace.path("www"), { mode: 0o755 });
  for (const [path, bytes] of Object.entries(BODIES)) {
    writeFileSync(workspace.path(join("www", path)), "x".repeat(bytes), { mode: 0o644 });
  }
}

function nginxCommand(workspace: Workspace, addresses: readonly string[]): readonly string[] {
  const template = readFileSync(join(import.meta.dirname, "../peers/nginx-app.conf"), "utf8");
  const config = workspace.path("nginx-app.conf");
  const listen = addresses.map((address) => `listen ${address}:${APP_PORTS.http} backlog=4096;`);
  const values = { DIRECTORY: workspace.directory, LISTEN: listen.join("\n    ") };
  writeFileSync(config, fillTemplate(template, values));
  return ["nginx", "-c", config, "-p", workspace.directory];
}

// As Redis ships, but nothing is written to disk: every peer's requests cost it the same.
function redisCommand(addresses: readonly string[]): readonly string[] {
  // A relay that serves a pod's own address is no client on loopback, which protected mode asks for.
  const open = ["--protected-mode", "no"];
  const options = ["--port", String(APP_PORTS.redis), "--save", "", "--appendonly", "no", ...open];
  return ["redis-server", ...options, "--bind", ...addresses];
}
