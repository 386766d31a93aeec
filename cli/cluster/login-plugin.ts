import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";

import { messageOf, ShimmyError } from "../../common/errors.ts";
import type { Credentials, LoginPlugin } from "../../common/kubernetes/access.ts";

/** A login may open a browser, and wait for a person there. */
const TIMEOUT_MS = 180_000;
/** Credentials are asked for anew when they have less left. */
const MARGIN_MS = 60_000;

interface ExecCredential {
  readonly status?: {
    readonly token?: string;
    readonly clientCertificateData?: string;
    readonly clientKeyData?: string;
    readonly expirationTimestamp?: string;
  };
}

/**
 * Makes a runner of the login plugins of kubeconfigs, which keeps what they gave until it ends.
 *
 * @see https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
 */
export function createLogin(): (plugin: LoginPlugin) => Promise<Credentials> {
  let known: { credentials: Credentials; untilMs: number } | undefined;
  return async (plugin) => {
    if (known !== undefined && Date.now() < known.untilMs) return known.credentials;
    const { status = {} } = await run(plugin);
    const credentials = credentialsOf(status, plugin);
    const { expirationTimestamp: end } = status;
    const untilMs = end === undefined ? Infinity : Date.parse(end) - MARGIN_MS;
    known = { credentials, untilMs };
    return credentials;
  };
}

function credentialsOf(
  { token, clientCertificateData: cert, clientKeyData: key }: NonNullable<ExecCredential["status"]>,
  plugin: LoginPlugin,
): Credentials {
  const pair = cert === undefined || key === undefined ? {} : { cert, key };
  const credentials = { ...(token === undefined ? {} : { token }), ...pair };
  if (Object.keys(credentials).length > 0) return credentials;
  throw refused(plugin, "it gave neither a token nor a certificate with its key");
}

async function run(plugin: LoginPlugin): Promise<ExecCredential> {
  const { exec, directory } = plugin;
  const { command, args = [], env } = exec as { command?: unknown; args?: string[]; env?: unknown };
  if (typeof command !== "string") throw refused(plugin, "it has no command");
  const program = command.includes("/") ? resolve(directory, command) : command;
  try {
    const { stdout } = await promisify(execFile)(program, args, {
      env: { ...process.env, ...variables(env), KUBERNETES_EXEC_INFO: execInfo(plugin) },
      timeout: TIMEOUT_MS,
    });
    return JSON.parse(stdout) as ExecCredential;
  } catch (err) {
    const hint = exec["installHint"];
    const help = typeof hint === "string" && isMissing(err) ? ` ${hint}` : "";
    throw refused(plugin, `${messageOf(err).trim()}${help}`);
  }
}

function execInfo({ exec, cluster: { server, ca } }: LoginPlugin): string {
  const cluster = {
    server,
    ...(ca === undefined
      ? {}
      : { "certificate-authority-data": Buffer.from(ca).toString("base64") }),
  };
  return JSON.stringify({
    apiVersion: exec["apiVersion"],
    kind: "ExecCredential",
    spec: { interactive: false, ...(exec["provideClusterInfo"] === true ? { cluster } : {}) },
  });
}

function variables(env: unknown): Readonly<Record<string, string>> {
  const entries = Array.isArray(env) ? (env as readonly { name: string; value: string }[]) : [];
  return Object.fromEntries(entries.map(({ name, value }) => [name, value]));
}

function isMissing(err: unknown): boolean {
  return err instanceof Error && "code" in err && err.code === "ENOENT";
}

function refused({ exec }: LoginPlugin, why: string): ShimmyError {
  const command = typeof exec["command"] === "string" ? exec["command"] : "?";
  const message = `login plugin ${command} of the kubeconfig: ${why}`;
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
