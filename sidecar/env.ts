/** The sidecar's settings: the one schema behind its environment, its flags and their documentation. */
import { isIP } from "node:net";

import {
  boolean,
  bytes,
  duration,
  integer,
  list,
  listenAddress,
  oneOf,
  text,
  type ListenAddress,
} from "../common/env-parsers.ts";
import {
  resolveConfig,
  type Config,
  type ConfigSchema,
  type ConfigSources,
} from "../common/env.ts";
import { ShimmyError } from "../common/errors.ts";
import { LOG_LEVEL_SETTING } from "../common/log-setting.ts";
import { parsePushTargets } from "./topics/push-targets.ts";
import { parseUpstreams, qualifyUpstreams, TRANSPORT_CAPS, type Upstream } from "./upstreams.ts";

/** Name and namespace of a pod. */
export interface PodReference {
  readonly namespace: string;
  readonly name: string;
}

const DAY_MS = 86_400_000;
const MAX_RING_BYTES = 64 * 1024 * 1024;

/** The sidecar's settings. docs/reference/config.md shows them; a test keeps it so. */
export const SIDECAR_CONFIG = {
  pod: {
    env: "SHIMMY_POD",
    flag: "pod",
    parse: podReference,
    required: true,
    doc: "The pod this sidecar belongs to, as `namespace/name`; the agent checks it.",
  },
  agentDir: {
    env: "SHIMMY_AGENT_DIR",
    flag: "agent-dir",
    parse: text,
    required: true,
    doc: "Directory with the pod's agent sockets, `RUNTIME/pods/NAMESPACE/NAME`; `@shimmy` in Kubernetes, where they are in the pod's network namespace.",
  },
  upstreams: {
    env: "SHIMMY_UPSTREAMS",
    flag: "upstreams",
    parse: parseUpstreams,
    default: "",
    doc: "Services the application calls and the local port for each: `orders:9001, quotes.md:9002?port=http&protocol=grpc&transport=auto`.",
  },
  listenAddresses: {
    env: "SHIMMY_LISTEN_ADDRESSES",
    flag: "listen-addresses",
    parse: someAddresses,
    default: "127.0.0.1,::1",
    doc: "Addresses on which upstreams are served; an IPv6 address is left out where IPv6 is off.",
  },
  adminAddress: {
    env: "SHIMMY_ADMIN_ADDRESS",
    flag: "admin-address",
    parse: listenAddress,
    default: "127.0.0.1:14790",
    doc: "Address of health, metrics and status over HTTP; port 0 lets the kernel choose.",
  },
  appAddress: {
    env: "SHIMMY_APP_ADDRESS",
    flag: "app-address",
    parse: address,
    doc: "Where the application listens for what peers send; the pod's own address when not given.",
  },
  appPorts: {
    env: "SHIMMY_APP_PORTS",
    flag: "app-ports",
    parse: list(integer({ min: 1, max: 65_535 })),
    doc: "Ports of the application that peers may reach; those the agent knows when not given.",
  },
  transport: {
    env: "SHIMMY_TRANSPORT",
    flag: "transport",
    parse: oneOf(TRANSPORT_CAPS),
    default: "auto",
    doc: "Cap for all upstreams: `tcp` turns shared memory off; an upstream's own option cannot raise it.",
  },
  dnsFallback: {
    env: "SHIMMY_DNS_FALLBACK",
    flag: "dns-fallback",
    parse: boolean,
    default: "false",
    doc: "Whether, while the agent was never reached, an upstream with a numeric `port` is called by TCP at its Service's DNS name.",
  },
  topicsAddresses: {
    env: "SHIMMY_TOPICS_ADDRESSES",
    flag: "topics-addresses",
    parse: loopbackAddresses,
    default: "",
    doc: "Loopback addresses and ports of topics over HTTP, `127.0.0.1:14791,[::1]:14791`; none when empty. Port 0 lets the kernel choose; an IPv6 address is left out where IPv6 is off.",
  },
  topicsOrigins: {
    env: "SHIMMY_TOPICS_ORIGINS",
    flag: "topics-origins",
    parse: list(origin),
    default: "",
    doc: "Origins whose pages in a browser may use topics, `http://localhost:3000`.",
  },
  topicsBufferBytes: {
    env: "SHIMMY_TOPICS_BUFFER",
    flag: "topics-buffer",
    parse: bytes({ min: 64 * 1024, max: 256 * 1024 * 1024 }),
    default: "16Mi",
    doc: "Bytes of messages that are received over HTTP at a time; the largest message that can be published so. Further requests wait.",
  },
  topicsPush: {
    env: "SHIMMY_TOPICS_PUSH",
    flag: "topics-push",
    parse: parsePushTargets,
    default: "",
    doc: "Topics whose messages are sent to the application by POST: `jobs=http://localhost:8080/jobs`, `cloudevents:md/quotes=http://127.0.0.1:8080/`, divided by commas or white space; loopback only.",
  },
  ringBudgetBytes: {
    env: "SHIMMY_RING_BUDGET",
    flag: "ring-budget",
    parse: bytes({ min: 1024 ** 2, max: 64 * 1024 ** 3 }),
    default: "64Mi",
    doc: "Shared memory this sidecar pays for, in all; beyond it rings do not grow and new connections go over TCP.",
  },
  maxRingBytes: {
    env: "SHIMMY_MAX_RING",
    flag: "max-ring",
    parse: powerOfTwoBytes,
    default: "1Mi",
    doc: "Largest ring of one stream; a power of two.",
  },
  relayThreads: {
    env: "SHIMMY_RELAY_THREADS",
    flag: "relay-threads",
    parse: integer({ min: 1, max: 64 }),
    default: "1",
    doc: "Native threads that move bytes.",
  },
  spinMicros: {
    env: "SHIMMY_SPIN_MICROS",
    flag: "spin-micros",
    parse: integer({ min: 0, max: 10_000 }),
    default: "200",
    doc: "Longest spin of a relay thread before it sleeps, in microseconds; 0 never spins.",
  },
  maxConnections: {
    env: "SHIMMY_MAX_CONNECTIONS",
    flag: "max-connections",
    parse: integer({ min: 1, max: 1_000_000 }),
    default: "10000",
    doc: "Connections relayed at a time, both directions together; more are refused.",
  },
  maxStreamsPerPeer: {
    env: "SHIMMY_MAX_STREAMS_PER_PEER",
    flag: "max-streams-per-peer",
    parse: integer({ min: 1, max: 1_000_000 }),
    default: "10000",
    doc: "Streams open at a time with one peer.",
  },
  connectTimeoutMs: {
    env: "SHIMMY_CONNECT_TIMEOUT",
    flag: "connect-timeout",
    parse: duration({ min: 10, max: 300_000 }),
    default: "5s",
    doc: "Time for a TCP connection to an endpoint or to the application.",
  },
  openTimeoutMs: {
    env: "SHIMMY_OPEN_TIMEOUT",
    flag: "open-timeout",
    parse: duration({ min: 10, max: 60_000 }),
    default: "1s",
    doc: "Time for a stream to be opened; then the connection goes over TCP.",
  },
  idleTimeoutMs: {
    env: "SHIMMY_IDLE_TIMEOUT",
    flag: "idle-timeout",
    parse: duration({ min: 0, max: DAY_MS }),
    default: "0",
    doc: "A connection on which nothing moves for this time is ended; 0 never.",
  },
  drainTimeoutMs: {
    env: "SHIMMY_DRAIN_TIMEOUT",
    flag: "drain-timeout",
    parse: duration({ min: 0, max: DAY_MS }),
    default: "25s",
    doc: "Time for open connections to end after SIGTERM; the rest are reset.",
  },
  protocolVersion: {
    env: "SHIMMY_PROTOCOL_VERSION",
    flag: "protocol-version",
    parse: integer({ min: 1, max: 65_535 }),
    doc: "Newest version of the messages to the agent that is spoken, at most this build's own, which it is when not given; an older one is for tests of upgrades.",
  },
  logLevel: LOG_LEVEL_SETTING,
} as const satisfies ConfigSchema;

/** The sidecar's settings, resolved. */
export interface SidecarConfig extends Omit<Config<typeof SIDECAR_CONFIG>, "upstreams"> {
  readonly upstreams: readonly Upstream[];
}

/**
 * Resolves the sidecar's settings.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names every setting refused.
 */
export function resolveSidecarConfig(sources: ConfigSources): SidecarConfig {
  const config = resolveConfig(SIDECAR_CONFIG, sources);
  const upstreams = qualifyUpstreams(config.upstreams, config.pod.namespace);
  refuseClash("SHIMMY_ADMIN_ADDRESS", [config.adminAddress], upstreams);
  refuseClash("SHIMMY_TOPICS_ADDRESSES", config.topicsAddresses, upstreams);
  return Object.freeze({ ...config, upstreams });
}

/** Two sidecar ports that are equal are a slip, whichever addresses they are on. */
function refuseClash(
  setting: string,
  addresses: readonly ListenAddress[],
  upstreams: readonly Upstream[],
): void {
  const ports = addresses.map(({ port }) => port);
  const clash = upstreams.find(({ localPort }) => ports.includes(localPort));
  if (clash === undefined) return;
  throw invalid(`upstream ${clash.service} has the local port of ${setting}, ${clash.localPort}`);
}

/** Whoever reaches topics speaks for the pod: so nobody does from outside. */
function loopbackAddresses(value: string): readonly ListenAddress[] {
  const addresses = list(listenAddress)(value);
  const outside = addresses.find(({ address: at }) => at !== "::1" && !at.startsWith("127."));
  if (outside === undefined) return addresses;
  throw invalid(`${outside.address} is not loopback`);
}

function origin(value: string): string {
  if (URL.canParse(value) && new URL(value).origin === value) return value;
  throw invalid(`expected an origin such as http://localhost:3000, got ${JSON.stringify(value)}`);
}

function podReference(value: string): PodReference {
  const match = /^(?<namespace>[-a-z0-9]{1,63})\/(?<name>[-a-z0-9.]{1,128})$/.exec(value)?.groups;
  if (match?.["namespace"] === undefined || match["name"] === undefined) {
    throw invalid(`expected namespace/name, got ${JSON.stringify(value)}`);
  }
  return { namespace: match["namespace"], name: match["name"] };
}

function address(value: string): string {
  if (isIP(value) !== 0) return value;
  throw invalid(`expected an IPv4 or IPv6 address, got ${JSON.stringify(value)}`);
}

function someAddresses(value: string): readonly string[] {
  const addresses = list(address)(value);
  const double = addresses.find((item, index) => addresses.indexOf(item) !== index);
  if (double !== undefined) throw invalid(`address ${double} is given twice`);
  if (addresses.length > 0) return addresses;
  throw invalid("expected at least one address");
}

function powerOfTwoBytes(value: string): number {
  const size = bytes({ min: 16 * 1024, max: MAX_RING_BYTES })(value);
  if (Number.isInteger(Math.log2(size))) return size;
  throw invalid(`expected a power of two such as 1Mi, got ${JSON.stringify(value)}`);
}

function invalid(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
