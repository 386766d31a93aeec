/**
 * The grammar of upstreams, for the annotation `shimmy.io/upstreams`, SHIMMY_UPSTREAMS and --upstreams:
 *
 *   upstreams = upstream *( ("," / line end) upstream )     blanks around an upstream are dropped
 *   upstream  = name ["." namespace] ":" local-port ["?" option *("&" option)]
 *   option    = "port=" (number / name) | "protocol=" protocol | "transport=" transport
 */
import { ShimmyError } from "../common/errors.ts";
import { didYouMean } from "../common/suggest.ts";

/** How far a connection may be sped up; a cap set higher up cannot be raised below. */
export const TRANSPORT_CAPS = ["auto", "shm", "tcp"] as const;

/** One of {@link TRANSPORT_CAPS}. */
export type TransportCap = (typeof TRANSPORT_CAPS)[number];

/** What an upstream speaks: chooses the scheme of its URL, and nothing else. */
export const UPSTREAM_PROTOCOLS = ["http", "grpc", "tcp"] as const;

/** One of {@link UPSTREAM_PROTOCOLS}. */
export type UpstreamProtocol = (typeof UPSTREAM_PROTOCOLS)[number];

/** Most upstreams of one pod: as many services as the agent lets a client watch. */
export const MAX_UPSTREAMS = 256;

/** One upstream as it was written. */
export interface UpstreamSpec {
  /** Of the Service. */
  readonly name: string;
  /** Absent: the namespace of the pod itself. */
  readonly namespace?: string;
  /** Where the sidecar listens for the application. */
  readonly localPort: number;
  /** Port of the Service, by number or name; needed when it has several. */
  readonly port?: number | string;
  readonly protocol: UpstreamProtocol;
  readonly transport: TransportCap;
}

/** An upstream whose Service is known in full. */
export interface Upstream extends Omit<UpstreamSpec, "name" | "namespace"> {
  /** `namespace/name`. */
  readonly service: string;
}

const MAX_TEXT_LENGTH = 65_536;
const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

type Options = Partial<Pick<UpstreamSpec, "port" | "protocol" | "transport">>;

/** Reads the value of each option; adding one here is all that a new option needs. */
const OPTIONS: Readonly<Record<string, (value: string) => Options>> = {
  port: (value) => ({ port: parsePort(value) }),
  protocol: (value) => ({ protocol: oneOf("protocol", value, UPSTREAM_PROTOCOLS) }),
  transport: (value) => {
    if (value === "rdma") throw refused("transport rdma is not built yet");
    return { transport: oneOf("transport", value, TRANSPORT_CAPS) };
  },
};

/**
 * Reads a list of upstreams. Any text is safe to pass.
 *
 * @returns The upstreams in the order written; none for blank text.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names the token refused.
 */
export function parseUpstreams(text: string): readonly UpstreamSpec[] {
  if (text.length > MAX_TEXT_LENGTH) {
    throw refused(`upstreams of ${text.length} characters, at most ${MAX_TEXT_LENGTH}`);
  }
  const specs = text.split("\n").flatMap(entriesOfLine).map(parseUpstream);
  if (specs.length > MAX_UPSTREAMS) {
    throw refused(`${specs.length} upstreams, at most ${MAX_UPSTREAMS}`);
  }
  refuseClash(specs);
  return specs;
}

/**
 * Completes upstreams with the namespace of the pod that calls them.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when two name the same port of a Service.
 */
export function qualifyUpstreams(
  specs: readonly UpstreamSpec[],
  podNamespace: string,
): readonly Upstream[] {
  const seen = new Map<string, number>();
  return specs.map(({ name, namespace = podNamespace, ...rest }) => {
    const service = `${namespace}/${name}`;
    const key = `${service} ${rest.port ?? ""}`;
    const other = seen.get(key);
    if (other !== undefined) {
      const port = rest.port === undefined ? "" : ` port ${rest.port}`;
      throw refused(
        `${service}${port} is an upstream twice, on local ports ${other} and ${rest.localPort}`,
      );
    }
    seen.set(key, rest.localPort);
    return { service, ...rest };
  });
}

/** Writes an upstream as {@link parseUpstreams} reads it, options left at their defaults omitted. */
export function formatUpstream(spec: UpstreamSpec): string {
  const { name, namespace, localPort, port, protocol, transport } = spec;
  const options = [
    ...(port === undefined ? [] : [`port=${port}`]),
    ...(protocol === "tcp" ? [] : [`protocol=${protocol}`]),
    ...(transport === "auto" ? [] : [`transport=${transport}`]),
  ].join("&");
  const host = namespace === undefined ? name : `${name}.${namespace}`;
  return `${host}:${localPort}${options === "" ? "" : `?${options}`}`;
}

/** A line may end with a comma; two commas in a row are a mistake. */
function entriesOfLine(line: string): string[] {
  const trimmed = line.trim();
  if (trimmed === "") return [];
  const entries = trimmed.replace(/,$/, "").split(",");
  return entries.map((entry) => entry.trim());
}

function parseUpstream(entry: string): UpstreamSpec {
  try {
    const [target = "", ...queries] = entry.split("?");
    if (queries.length > 1) throw refused(`more than one "?"`);
    const [host = "", localPort, ...rest] = target.split(":");
    if (entry === "") throw refused("nothing between two commas");
    if (localPort === undefined) throw refused("has no local port, as in orders:9001");
    if (rest.length > 0) throw refused(`more than one ":"`);
    return {
      ...parseHost(host),
      localPort: parseNumber("local port", localPort),
      protocol: "tcp",
      transport: "auto",
      ...(queries[0] === undefined ? {} : parseOptions(queries[0])),
    };
  } catch (err) {
    if (!(err instanceof ShimmyError)) throw err;
    throw refused(`upstream ${quote(entry)}: ${err.message}`);
  }
}

function parseHost(host: string): Pick<UpstreamSpec, "name" | "namespace"> {
  const [name = "", namespace, ...rest] = host.split(".");
  if (rest.length > 0) {
    throw refused(`${quote(host)} is not a name or name.namespace of a Service`);
  }
  requireLabel("Service name", name);
  if (namespace === undefined) return { name };
  requireLabel("namespace", namespace);
  return { name, namespace };
}

function parseOptions(query: string): Options {
  let options: Options = {};
  const seen = new Set<string>();
  for (const token of query.split("&")) {
    const [key = "", value, ...rest] = token.split("=");
    const parse = Object.hasOwn(OPTIONS, key) ? OPTIONS[key] : undefined;
    if (parse === undefined) {
      throw refused(`unknown option ${quote(key)}${didYouMean(key, Object.keys(OPTIONS))}`);
    }
    if (value === undefined || value === "" || rest.length > 0) {
      throw refused(`option ${quote(token)} is not of the form ${key}=value`);
    }
    if (seen.has(key)) throw refused(`option ${quote(key)} is given twice`);
    seen.add(key);
    options = { ...options, ...parse(value) };
  }
  return options;
}

function parsePort(value: string): number | string {
  if (/^\d+$/.test(value)) return parseNumber("port", value);
  requireLabel("port name", value);
  return value;
}

function parseNumber(what: string, value: string): number {
  const port = /^\d{1,5}$/.test(value) ? Number(value) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw refused(`${what} must be from 1 to 65535, got ${quote(value)}`);
}

function requireLabel(what: string, value: string): void {
  if (LABEL.test(value)) return;
  throw refused(`${what} ${quote(value)} is not of lower-case letters, digits and inner dashes`);
}

function oneOf<T extends string>(what: string, value: string, words: readonly T[]): T {
  const word = words.find((candidate) => candidate === value);
  if (word !== undefined) return word;
  const hint = didYouMean(value, words);
  throw refused(`${what} must be one of ${words.join(", ")}, got ${quote(value)}${hint}`);
}

function refuseClash(specs: readonly UpstreamSpec[]): void {
  const byPort = new Map<number, UpstreamSpec>();
  for (const spec of specs) {
    const other = byPort.get(spec.localPort);
    if (other !== undefined) {
      throw refused(
        `upstreams ${quote(formatUpstream(other))} and ${quote(formatUpstream(spec))} ` +
          `have the same local port ${spec.localPort}`,
      );
    }
    byPort.set(spec.localPort, spec);
  }
}

/** A token for a message, cut: it may be a whole file pasted into a variable. */
function quote(token: string): string {
  return JSON.stringify(token.length > 80 ? `${token.slice(0, 80)}…` : token);
}

function refused(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
