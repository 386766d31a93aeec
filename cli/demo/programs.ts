import { accessSync, constants, writeFileSync } from "node:fs";
import { join } from "node:path";

import { ShimmyError } from "../../common/errors.ts";
import { endingExitCode, processFailure, type ManagedProcess } from "../local/managed-process.ts";
import { canConnect, waitUntil } from "../local/wait.ts";
import type { Workspace } from "../local/workspace.ts";

/** Programs of others that the demo runs. */
const NEEDED = ["nginx", "wrk", "curl"] as const;

/** Paths of the programs of others that the demo runs. */
export type DemoPrograms = Readonly<Record<(typeof NEEDED)[number], string>>;

/** Servers live in sbin, which an ordinary user's PATH lacks. */
const MORE_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
const START_TIMEOUT_MS = 5000;

/**
 * Finds the programs of others that the demo runs.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_NOT_FOUND` that names those missing.
 */
export function findPrograms(path: string = process.env["PATH"] ?? ""): DemoPrograms {
  const folders = [...path.split(":"), ...MORE_FOLDERS];
  const found = NEEDED.map((name) => [
    name,
    folders.map((folder) => join(folder, name)).find(isExecutable),
  ]);
  const missing = found.filter(([, file]) => file === undefined).map(([name]) => name);
  if (missing.length === 0) return Object.fromEntries(found) as DemoPrograms;
  throw new ShimmyError(
    "SHIMMY_ERR_NOT_FOUND",
    `the demo needs ${missing.join(" and ")}; in a clone \`npm run demo\` installs what is missing`,
  );
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** As its makers ship it, with one worker and no access log. */
function nginxConfig(directory: string, listen: string): string {
  return `worker_processes 1;
daemon off;
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  client_body_temp_path ${directory}/nginx-body;
  proxy_temp_path ${directory}/nginx-proxy;
  fastcgi_temp_path ${directory}/nginx-fastcgi;
  uwsgi_temp_path ${directory}/nginx-uwsgi;
  scgi_temp_path ${directory}/nginx-scgi;
  server {
    listen ${listen};
    location = /hello { return 200 "hello from nginx\\n"; }
    location / { root ${directory}; }
  }
}
`;
}

/** Size of the file at `/large`. */
export const LARGE_BYTES = 64 * 1024;

/**
 * Starts nginx on an address; `/hello` is 17 bytes, `/large` 64 KiB.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it does not accept connections.
 */
export async function startNginx(
  workspace: Workspace,
  program: string,
  { address, port }: { address: string; port: number },
): Promise<ManagedProcess> {
  const config = workspace.path("nginx.conf");
  writeFileSync(config, nginxConfig(workspace.directory, `${address}:${port}`));
  writeFileSync(workspace.path("large"), "x".repeat(LARGE_BYTES));
  const argv = [program, "-p", workspace.directory, "-e", "stderr", "-c", config];
  const nginx = workspace.start({ name: "nginx", argv });
  await waitUntil({
    process: nginx,
    otherwise: `does not accept connections on ${address}:${port}`,
    timeoutMs: START_TIMEOUT_MS,
    condition: () => canConnect(address, port),
  });
  return nginx;
}

/**
 * Runs a program to its end.
 *
 * @returns The lines it wrote to standard output.
 * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when its exit code is not 0.
 */
export async function runToEnd(
  workspace: Workspace,
  name: string,
  argv: readonly string[],
): Promise<string[]> {
  const lines: string[] = [];
  const program = workspace.start({
    name,
    argv,
    onLine: (line, stream) => {
      if (stream === "stdout") lines.push(line);
    },
  });
  const ending = await program.ended;
  if (endingExitCode(ending) !== 0) throw processFailure(program, "failed");
  return lines;
}
