/** Real servers, on the address of a pod, with all their files in a mesh's workspace. */
import { chownSync, globSync, mkdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";

import type { ManagedProcess } from "../../cli/local/managed-process.ts";
import { canConnect } from "../../cli/local/wait.ts";
import type { Workspace } from "../../cli/local/workspace.ts";
import { eventually } from "./eventually.ts";
import { LocalMesh, type LocalMeshOptions } from "./local-mesh.ts";
import { mustRun } from "./run-program.ts";

/** Where a server listens. */
export interface Place {
  readonly address: string;
  readonly port: number;
}

const FIRST_LOCAL_PORT = 9001;

/** A mesh with the pods `client` and `server`, and how the one reaches the other. */
export interface AppMesh {
  readonly mesh: LocalMesh;
  /** Where a service's server is to listen. */
  server(service: string): Place;
  /** Where the client reaches a service. */
  local(service: string): Place;
}

/** Starts a mesh whose server pod serves each service on the port given. */
export async function startAppMesh(
  ports: Readonly<Record<string, number>>,
  options: Partial<LocalMeshOptions> = {},
): Promise<AppMesh> {
  const names = Object.keys(ports);
  const localPort = (service: string): number => FIRST_LOCAL_PORT + names.indexOf(service);
  const mesh = await LocalMesh.start({
    pods: {
      client: { upstreams: names.map((name) => `${name}:${localPort(name)}`).join(", ") },
      server: {},
    },
    services: Object.entries(ports).map(([name, port]) => ({
      name,
      ports: [{ port }],
      pods: ["server"],
    })),
    ...options,
  });
  return {
    mesh,
    server: (service) => ({ address: mesh.address("server"), port: ports[service] ?? 0 }),
    local: (service) => ({ address: mesh.address("client"), port: localPort(service) }),
  };
}

/** Starts nginx; it serves `www` of the workspace. */
export async function startNginx(workspace: Workspace, at: Place): Promise<ManagedProcess> {
  const directory = workspace.path("nginx");
  mkdirSync(directory, { mode: 0o755 });
  mkdirSync(workspace.path("www"), { recursive: true, mode: 0o755 });
  const config = workspace.path("nginx/nginx.conf");
  const bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  writeFileSync(
    config,
    `worker_processes 1; daemon off; pid ${directory}/pid; error_log stderr error;
     ${userInfo().uid === 0 ? "user root;" : ""}
     events { worker_connections 4096; }
     http {
       access_log off; sendfile on; default_type application/octet-stream;
       ${bodies.map((name) => `${name}_temp_path ${directory}/${name};`).join(" ")}
       server { listen ${at.address}:${at.port} backlog=1024; root ${workspace.path("www")}; }
     }`,
  );
  return startServer(workspace, at, ["nginx", "-c", config, "-p", directory, "-e", "stderr"]);
}

/** Starts Redis, which keeps nothing on disk. */
export function startRedis(
  workspace: Workspace,
  at: Place,
  options: readonly string[] = ["--protected-mode", "no"],
): Promise<ManagedProcess> {
  const network = ["--bind", at.address, "--port", String(at.port)];
  const quiet = ["--save", "", "--appendonly", "no", "--loglevel", "warning"];
  return startServer(workspace, at, ["redis-server", ...network, ...quiet, ...options]);
}

/** Name of the database's superuser, who needs no password from this machine. */
export const POSTGRES_USER = "tester";

/** Makes a database cluster and starts PostgreSQL on it. */
export async function startPostgres(workspace: Workspace, at: Place): Promise<ManagedProcess> {
  const directory = workspace.path("postgres");
  mkdirSync(directory, { mode: 0o700 });
  const asOwner = await givenUpRoot(directory);
  const auth = ["-A", "trust", "-U", POSTGRES_USER];
  const initdb = [...asOwner, postgresCommand("initdb"), "-D", directory];
  await mustRun([...initdb, "--no-sync", "-E", "UTF8", ...auth]);
  // Whoever comes through a sidecar comes from the pod's own address, and nobody else may.
  writeFileSync(`${directory}/pg_hba.conf`, `host all all ${at.address}/32 trust\n`);
  const settings = [
    `listen_addresses=${at.address}`,
    `port=${at.port}`,
    "unix_socket_directories=",
    "fsync=off",
    "max_connections=60",
  ].flatMap((setting) => ["-c", setting]);
  const postgres = [...asOwner, postgresCommand("postgres"), "-D", directory, ...settings];
  return startServer(workspace, at, postgres);
}

/** A command of PostgreSQL; Debian puts those of the server outside PATH. */
function postgresCommand(name: string): string {
  return globSync(`/usr/lib/postgresql/*/bin/${name}`).at(-1) ?? name;
}

/** PostgreSQL refuses to run as root. */
async function givenUpRoot(directory: string): Promise<readonly string[]> {
  if (userInfo().uid !== 0) return [];
  const id = async (flag: string): Promise<string> =>
    (await mustRun(["id", flag, "nobody"])).stdout.trim();
  const [uid, gid] = [await id("-u"), await id("-g")];
  chownSync(directory, Number(uid), Number(gid));
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
}

async function startServer(
  workspace: Workspace,
  { address, port }: Place,
  argv: readonly string[],
): Promise<ManagedProcess> {
  const name = argv.find((word) => !/setpriv|^-/.test(word)) ?? "server";
  const server = workspace.start({ name, argv, cwd: workspace.directory });
  await eventually(`${name} to accept on ${address}:${port}`, () => {
    if (server.ending !== undefined) throw new Error(`${name}: ${server.lastLines.join("\n")}`);
    return canConnect(address, port);
  });
  return server;
}
