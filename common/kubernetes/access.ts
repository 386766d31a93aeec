import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";

import { parse } from "yaml";

import { messageOf, ShimmyError } from "../errors.ts";

/** What one connection to the API server needs; read again from time to time, because it changes. */
export interface Credentials {
  /** Certificates that the server's must be signed by, PEM; the system's when not given. */
  readonly ca?: string;
  /** Bearer token. */
  readonly token?: string;
  /** Client certificate and key, PEM. */
  readonly cert?: string;
  readonly key?: string;
}

/** How to reach an API server. */
export interface ClusterAccess {
  /** Its origin, `https://host:port`. */
  readonly server: string;
  /** Namespace that is meant where none is named. */
  readonly namespace: string;
  /** Reads the credentials as they are now. */
  credentials(): Promise<Credentials>;
}

/** A program that gives credentials, as a kubeconfig names it. */
export interface LoginPlugin {
  /** As it stands in the kubeconfig. */
  readonly exec: Readonly<Record<string, unknown>>;
  /** Where the kubeconfig lies: a relative path to the program begins there. */
  readonly directory: string;
  /** For plugins that want to know it. */
  readonly cluster: { readonly server: string; readonly ca: string | undefined };
}

/** Where {@link findClusterAccess} looks. */
export interface AccessSources {
  /** A kubeconfig file; when not given, the pod's own account, then KUBECONFIG, then ~/.kube/config. */
  readonly kubeconfig?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where a pod finds its account. @defaultValue the directory that Kubernetes mounts */
  readonly accountDir?: string;
  /** Runs login plugins of kubeconfigs. Parts in a cluster have none: then such a user is refused. */
  readonly login?: (plugin: LoginPlugin) => Promise<Credentials>;
}

/** @see https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api */
const ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Finds out how to reach the API server.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when there is no way to, or it is not one
 * that Shimmy knows, as a kubeconfig with a login plugin.
 */
export async function findClusterAccess(sources: AccessSources): Promise<ClusterAccess> {
  const { kubeconfig, env, accountDir = ACCOUNT_DIR, login } = sources;
  if (kubeconfig !== undefined) return kubeconfigAccess(kubeconfig, login);
  if (existsSync(join(accountDir, "token"))) return accountAccess(accountDir, env);
  return kubeconfigAccess(env["KUBECONFIG"] ?? join(homedir(), ".kube", "config"), login);
}

async function accountAccess(
  accountDir: string,
  env: AccessSources["env"],
): Promise<ClusterAccess> {
  const host = env["KUBERNETES_SERVICE_HOST"];
  if (host === undefined) {
    throw invalid(`${accountDir}/token exists and KUBERNETES_SERVICE_HOST is not set`);
  }
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "443";
  const read = async (name: string): Promise<string> =>
    (await readFile(join(accountDir, name), "utf8")).trim();
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    namespace: await read("namespace"),
    // The kubelet replaces the token long before it ends, and the CA when the cluster's changes.
    credentials: async () => ({ ca: await read("ca.crt"), token: await read("token") }),
  };
}

type Section = Readonly<Record<string, unknown>>;

async function kubeconfigAccess(
  file: string,
  login: AccessSources["login"],
): Promise<ClusterAccess> {
  const config = await readKubeconfig(file);
  const context = named(config, "context", config["current-context"]);
  const cluster = named(config, "cluster", context["cluster"]);
  const user = named(config, "user", context["user"]);
  const unsupported = ["auth-provider", "username", "password"];
  const unknown = [...(login === undefined ? ["exec"] : []), ...unsupported].find(
    (key) => key in user,
  );
  if (unknown !== undefined) {
    throw invalid(`${file}: users with "${unknown}" are not supported: use a token or certificate`);
  }
  if (cluster["insecure-skip-tls-verify"] === true) {
    throw invalid(`${file}: insecure-skip-tls-verify is not supported: name the server's CA`);
  }
  const server = textOf(cluster, "server");
  if (server === undefined || !URL.canParse(server))
    throw invalid(`${file}: no address of a server`);
  const directory = dirname(resolve(file));
  const material = (section: Section, name: string): Promise<string | undefined> =>
    readMaterial(section, name, directory);
  return {
    server: new URL(server).origin,
    namespace: textOf(context, "namespace") ?? "default",
    credentials: async () => {
      const ca = await material(cluster, "certificate-authority");
      if (login !== undefined && "exec" in user) {
        const exec = sectionOf(user["exec"]);
        const credentials = await login({ exec, directory, cluster: { server, ca } });
        return ca === undefined ? credentials : { ...credentials, ca };
      }
      const values = {
        ca,
        cert: await material(user, "client-certificate"),
        key: await material(user, "client-key"),
        token: textOf(user, "token") ?? (await readToken(user, directory)),
      };
      return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
    },
  };
}

async function readKubeconfig(file: string): Promise<Section> {
  try {
    return sectionOf(parse(await readFile(file, "utf8")));
  } catch (err) {
    throw invalid(`kubeconfig ${file}: ${messageOf(err).split("\n", 1)[0] ?? ""}`, err);
  }
}

/** The entry of a list of a kubeconfig that has a name. */
function named(config: Section, kind: "context" | "cluster" | "user", name: unknown): Section {
  const list: unknown = config[`${kind}s`];
  const entries: readonly unknown[] = Array.isArray(list) ? list : [];
  const entry = entries.find((each) => sectionOf(each)["name"] === name);
  const found = sectionOf(sectionOf(entry)[kind]);
  if (Object.keys(found).length > 0) return found;
  throw invalid(`the kubeconfig has no ${kind} ${JSON.stringify(name)}`);
}

async function readMaterial(
  section: Section,
  name: string,
  directory: string,
): Promise<string | undefined> {
  const data = textOf(section, `${name}-data`);
  if (data !== undefined) return Buffer.from(data, "base64").toString();
  const file = textOf(section, name);
  return file === undefined ? undefined : await readFile(resolve(directory, file), "utf8");
}

async function readToken(user: Section, directory: string): Promise<string | undefined> {
  const file = textOf(user, "tokenFile");
  if (file === undefined) return undefined;
  return (await readFile(resolve(directory, file), "utf8")).trim();
}

function textOf(section: Section, key: string): string | undefined {
  const value = section[key];
  return typeof value === "string" ? value : undefined;
}

function sectionOf(value: unknown): Section {
  return typeof value === "object" && value !== null ? (value as Section) : {};
}

function invalid(message: string, cause?: unknown): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message, { cause });
}
