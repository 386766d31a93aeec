import { ShimmyError } from "../../common/errors.ts";
import { didYouMean } from "../../common/suggest.ts";
import { upstreamVariables } from "../../injector/upstream-variables.ts";
import { formatUpstream, type UpstreamSpec } from "../../sidecar/upstreams.ts";

/** One program of a run, as a file or the command line describes it. */
export interface ProgramSpec {
  readonly name: string;
  /** Words, or a line for the shell; none: only its ports are opened, for another terminal. */
  readonly command?: readonly string[] | string;
  readonly serves: readonly ServedPort[];
  readonly calls: readonly UpstreamSpec[];
  /** Where it listens. @defaultValue an address of its own */
  readonly address?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A service, and the port the program listens on for it. */
export interface ServedPort {
  readonly service: string;
  readonly port: number;
}

/** A Kubernetes name, so that what works here can move there. */
const NAME = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
/** The sidecars' admin port and that of topics, which share the pod's address. */
const RESERVED_PORTS = [14_790, 14_791];

/**
 * Checks programs against each other.
 *
 * @returns The same programs.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names the first thing wrong.
 */
export function checkPrograms(programs: readonly ProgramSpec[]): readonly ProgramSpec[] {
  if (programs.length === 0) throw refused("there is no program to run");
  requireUnique(programs);
  const served = servedPorts(programs);
  const callers = new Map<number, string>();
  for (const { name, command, serves, calls } of programs) {
    if (serves.length > 0 && command === undefined) {
      throw refused(`program "${name}" serves ${serves[0]?.service ?? ""} but has no command`);
    }
    if (serves.length + calls.length === 0) {
      throw refused(`program "${name}" neither serves nor calls anything`);
    }
    for (const call of calls) {
      checkCall(name, call, served);
      checkLocalPort(name, call, callers);
    }
  }
  return programs;
}

/** Refuses what is not a name of Kubernetes. */
export function requireName(what: string, name: string): string {
  if (NAME.test(name)) return name;
  throw refused(
    `${what} ${JSON.stringify(name)} is not of lower-case letters, digits and inner dashes`,
  );
}

/** Reads a port number. */
export function requirePort(what: string, value: unknown): number {
  const port = typeof value === "string" && /^\d{1,5}$/.test(value) ? Number(value) : value;
  if (typeof port === "number" && Number.isInteger(port) && port >= 1 && port <= 65_535) {
    return port;
  }
  throw refused(`${what} must be a port from 1 to 65535, got ${JSON.stringify(value)}`);
}

/** Reads a time in seconds, above 0 and at most an hour. */
export function requireSeconds(what: string, value: string): number {
  const seconds = /^\d{1,4}(\.\d{1,3})?$/.test(value) ? Number(value) : 0;
  if (seconds > 0 && seconds <= 3600) return seconds;
  throw refused(`${what} must be a time in seconds, up to 3600, got "${value}"`);
}

/** An error about what the person wrote. */
export function refused(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}

/** Variables by which a program finds itself and what it calls. */
export function programEnv(
  { calls }: Pick<ProgramSpec, "calls">,
  address: string,
): Readonly<Record<string, string>> {
  const variables = upstreamVariables(calls).map(({ name, value }) => [name, value] as const);
  return {
    SHIMMY_ADDRESS: address,
    ...(hasTopics(address) ? { SHIMMY_TOPICS_URL: `http://${address}:14791/v1/topics` } : {}),
    ...Object.fromEntries(variables),
  };
}

/** Whether a program's sidecar serves topics at its address: they are for this machine alone. */
export function hasTopics(address: string): boolean {
  return address.startsWith("127.");
}

/** The words to execute; `${ADDRESS}` and the variables of {@link programEnv} are filled in. */
export function commandWords(
  command: readonly string[] | string,
  env: Readonly<Record<string, string>>,
): readonly string[] {
  const fill = (text: string): string =>
    text.replaceAll(/\$\{(\w+)\}/g, (whole, name: string) =>
      name === "ADDRESS" ? (env["SHIMMY_ADDRESS"] ?? whole) : (env[name] ?? whole),
    );
  // A program that is alone in its line replaces the shell, so that signals reach it.
  if (typeof command === "string") return ["/bin/sh", "-c", fill(command)];
  return command.map(fill);
}

/** Upstreams of a program as the sidecar reads them. */
export function formatUpstreams(calls: readonly UpstreamSpec[]): string {
  return calls.map(formatUpstream).join(",");
}

function requireUnique(programs: readonly ProgramSpec[]): void {
  const names = programs.map(({ name }) => name);
  const double = names.find((name, index) => names.indexOf(name) !== index);
  if (double !== undefined) throw refused(`two programs are named "${double}"`);
}

function servedPorts(programs: readonly ProgramSpec[]): ReadonlyMap<string, number> {
  const served = new Map<string, number>();
  for (const { name, serves } of programs) {
    for (const { service, port } of serves) {
      const other = served.get(service) ?? port;
      if (other !== port) {
        throw refused(`service "${service}" is served on port ${other} and, by "${name}", ${port}`);
      }
      if (RESERVED_PORTS.includes(port)) throw refused(`port ${port} is the sidecars' own`);
      served.set(service, port);
    }
  }
  return served;
}

function checkCall(
  program: string,
  { name, namespace, port }: UpstreamSpec,
  served: ReadonlyMap<string, number>,
): void {
  if (namespace !== undefined && namespace !== "default") {
    throw refused(`"${program}" calls ${name}.${namespace}, but a run has one namespace only`);
  }
  const target = served.get(name);
  if (target === undefined) {
    const hint = didYouMean(name, served.keys());
    throw refused(`"${program}" calls "${name}", which no program serves${hint}`);
  }
  if (port !== undefined && port !== target) {
    throw refused(`"${program}" calls port ${port} of "${name}", which has ${target} only`);
  }
}

function checkLocalPort(
  program: string,
  { name, localPort }: UpstreamSpec,
  callers: Map<number, string>,
): void {
  const other = callers.get(localPort);
  if (other !== undefined) {
    throw refused(
      `"${program}" calls ${name} on local port ${localPort}, as "${other}" does: ` +
        `programs of a run share this machine's loopback, so each needs ports of its own`,
    );
  }
  callers.set(localPort, program);
}
