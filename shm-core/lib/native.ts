import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { ShimmyError } from "../../common/errors.ts";

/**
 * Kinds of event, the first argument of the dispatcher.
 * Same numbers as `EventKind` in src/event_sink.h.
 */
export const EventKind = {
  message: 1,
  socketClosed: 2,
  connection: 3,
  acceptPaused: 4,
  relaySessionNeeded: 5,
  relaySessionReady: 6,
  relaySessionEnded: 7,
  relayDrained: 8,
  streamReady: 9,
  channelReady: 10,
  channelAnswer: 11,
} as const;

/** Receives every event of this environment. What follows the kind is listed in native-events.ts. */
export type NativeDispatch = (kind: number, id: number, first: unknown, second: unknown) => void;

/** `[pid, uid, gid]`, or a negative status. */
export type NativeCredentials = [number, number, number] | number;

/**
 * What a call of `streamLend` returns: the end's private state, the mappings of our half and the
 * peer's, and where things are in the state, in words of 32 bits.
 */
export type LentMemory = readonly [
  state: ArrayBuffer,
  mine: ArrayBuffer,
  peer: ArrayBuffer,
  modeAt: number,
  tailAt: number,
  headAt: number,
  knownHeadAt: number,
  plugsEatenAt: number,
  publishesAt: number,
  capacity: number,
  peerCapacity: number,
  pageBytes: number,
];

/** A role in a channel, as `shimmy_endpoint_options`; of the parameters zeros are defaults. */
export interface NativeEndpointOptions {
  role: number;
  start: number;
  waitMode: number;
  /** 0: the channel is not made. */
  kind: number;
  blocks: number;
  blockBytes: number;
  readers: number;
  timeToLiveMs: number;
  maxLoans: number;
}

/** What a call of `channelDescribe` returns, as `shimmy_info`. */
export type NativeChannelInfo = readonly [
  topic: string,
  channel: string,
  state: number,
  peers: number,
  maxBytes: number,
  kind: number,
  blocks: number,
  blockBytes: number,
  readers: number,
  timeToLiveMs: number,
  maxLoans: number,
];

/** What a relay is started with; as `relay::RelayOptions`. */
export interface NativeRelayOptions {
  threads: number;
  spinMicros: number;
  ringBudgetBytes: number;
  maxRingBytes: number;
  maxConnections: number;
  maxStreamsPerPeer: number;
  openTimeoutMs: number;
  connectTimeoutMs: number;
  idleTimeoutMs: number;
}

/** As `relay::Upstream`; `reason` is the number of a fallback reason. */
export interface NativeUpstream {
  service: string;
  port: number;
  endpoints: { pod: string; address: string; port: number; shm: boolean; reason: number }[];
}

/** As `relay::Grant`. */
export interface NativeGrant {
  service: string;
  port: number;
}

/** As `relay::SessionInit`. */
export interface NativeRelaySession {
  id: string;
  fd: number;
  initiator: boolean;
  peer: { pod: string; namespace: string; name: string; addresses: readonly string[] };
  accept: readonly NativeGrant[];
}

/** As `relay::SessionInfo`. */
export interface NativeSessionInfo {
  id: string;
  pod: string;
  state: string;
  streams: number;
  unanswered: number;
  pooledPairs: number;
}

/** As `relay::StreamInfo`. */
export interface NativeStreamInfo {
  id: number;
  direction: string;
  transport: string;
  service: string;
  pod: string;
  bytesToPeer: number;
  bytesFromPeer: number;
  ringBytes: number;
  peerRingBytes: number;
  ageMs: number;
}

/** The native lists that name a relay's numbers, in their order; see src/relay_counters.h. */
export interface NativeCounterLayout {
  names: string[];
  fallbacks: string[];
  ends: string[];
  sessionEnds: string[];
  latencyBoundsMicros: number[];
}

/**
 * Everything the addon exports. All native functions and classes are declared in this file.
 *
 * Functions return a number: not negative for a result, negative for a status that
 * {@link statusError} understands. They throw only for arguments of the wrong type.
 */
export interface NativeAddon {
  setDispatch(dispatch: NativeDispatch): void;
  /** Whether the event loop waits for native events. */
  setKeepAlive(keepAlive: boolean): void;

  socketPair(): [number, number] | number;
  duplicateFd(fd: number): number;
  /** From now on `fd` is closed with the environment, unless one of the next two comes first. */
  ownFd(fd: number): void;
  disownFd(fd: number): void;
  closeFd(fd: number): number;
  shutdownFd(fd: number): number;
  peerCredentials(fd: number): NativeCredentials;
  /** Returns the text of the peer's `/proc/PID/cgroup`. */
  peerCgroup(fd: number): string | number;

  /** Returns a socket id. */
  controlConnect(path: string): number;
  /** Returns a socket id and owns the descriptor from then on. */
  controlAdopt(fd: number): number;
  controlPeer(id: number): NativeCredentials;
  controlPeerCgroup(id: number): string | number;
  controlStartReading(id: number): void;
  /** Returns 1 when sent, 0 when queued. */
  controlSend(id: number, data: Uint8Array, fds: readonly number[]): number;
  controlClose(id: number): void;
  /** Returns a listener id. */
  controlListen(path: string, mode: number): number;
  /** Returns a listener id and owns the descriptor from then on. */
  controlListenFd(fd: number): number;
  controlResumeAccept(id: number): void;
  controlCloseListener(id: number): void;

  /** Returns a relay id. */
  relayStart(options: NativeRelayOptions): number;
  relayStop(id: number): void;
  /** Returns `[listener, port]`. */
  relayListen(
    id: number,
    address: string,
    port: number,
    upstream: NativeUpstream,
  ): [number, number] | number;
  relaySetUpstream(id: number, listener: number, upstream: NativeUpstream): number;
  relayUnlisten(id: number, listener: number): number;
  relaySetDelivery(id: number, rules: readonly { port: number; address: string }[]): number;
  /** Owns the descriptor whatever it returns. */
  relayAddSession(id: number, session: NativeRelaySession): number;
  relayFailSession(id: number, pod: string, reason: number): number;
  relaySetGrants(id: number, session: string, accept: readonly NativeGrant[]): number;
  relayRevoke(id: number, session: string, grants: readonly NativeGrant[]): number;
  relayCloseSession(id: number, session: string): number;
  relaySessions(id: number): NativeSessionInfo[] | number;
  relayStreams(id: number, limit: number): NativeStreamInfo[] | number;
  /** Returns how many numbers were written. */
  relayCounters(id: number, out: BigInt64Array): number;
  relayDrain(id: number, timeoutMs: number): number;
  readonly relayCounterLayout: NativeCounterLayout;

  /** Returns the ids of both ends. */
  streamPair(capacityBytes: number): [number, number] | number;
  /** Returns a stream id; owns both descriptors whatever it returns. */
  streamAttach(doorbell: number, peerHalf: number, handover: Uint8Array): number;
  /** Returns a length above 0. `spin`: 0 none, 1 as learned, 2 a millisecond. */
  streamRead(id: number, out: Uint8Array, spin: number): number;
  streamWrite(id: number, data: Uint8Array, spin: number): number;
  /** Blocks this thread. `bits`: 1 readable, 2 writable. */
  streamSleep(id: number, bits: number, timeoutMs: number): number;
  /** The buffers are detached as soon as they are no longer mapped. */
  streamLend(id: number): LentMemory | number;
  streamSettle(id: number, published: number): void;
  /** A streamReady event follows for each bit. */
  streamAsk(id: number, bits: number): number;
  streamFin(id: number): number;
  streamClose(id: number): void;
  streamReset(id: number): void;
  /** Fills `out` (80 bytes) and returns `[doorbell, peerHalf]`. */
  streamDetach(id: number, out: Uint8Array): [number, number] | number;
  /** Returns seven counts, in the order of `StreamCounts`. */
  streamCounts(id: number): number[] | number;

  /** Where calls put what they say beside their result; see `ChannelResult`. */
  channelSetResult(block: Float64Array): void;
  /** A channelAnswer event of this number follows, with a client id. */
  channelOpen(request: number, socket: string | undefined, timeoutMs: number): number;
  /** A channelAnswer event follows, with an endpoint id. */
  channelAttach(
    request: number,
    client: number,
    topic: string,
    options: NativeEndpointOptions,
  ): number;
  /** A channelAnswer event follows. The client's endpoints are closed before. */
  channelDisconnect(request: number, client: number): number;
  /** `wait`: 0 tries once, above 0 blocks this thread for so many ms, below 0 spins as learned. */
  channelPublish(id: number, data: Uint8Array, wait: number): number;
  /** Returns the room's memory, or 0 if it is not asked for. */
  channelReserve(id: number, bytes: number, wait: number, isView: boolean): ArrayBuffer | number;
  /** `data` is copied into a room whose memory was not asked for. */
  channelCommit(id: number, loan: number, bytes: number, data: Uint8Array | undefined): number;
  channelCancel(id: number, loan: number): number;
  channelEnd(id: number): number;
  channelDrain(id: number, wait: number): number;
  /** Returns a length. */
  channelTake(id: number, out: Uint8Array, wait: number): number;
  /** Returns the message's memory, or a length when it fitted into `small` and was copied there. */
  channelLoan(id: number, small: Uint8Array, wait: number): ArrayBuffer | number;
  /** The memory is detached, as it is by the next one. */
  channelRelease(id: number, loan: number): number;
  channelClose(id: number): void;
  /** Returns 0 to try now, `ChannelStatus.again` when a channelReady event follows. */
  channelArm(id: number, bytes: number): number;
  channelDescribe(id: number): NativeChannelInfo | number;
  /** Returns eleven counts, in the order of `ChannelCounters`. */
  channelCounters(id: number): number[] | number;
  /** Of the last channel call on this thread that failed. */
  channelLastError(): [code: string, reason: string, message: string];
}

/** CMake presets whose addon `SHIMMY_NATIVE_BUILD` can choose. */
const PRESETS: readonly string[] = ["release", "asan", "tsan", "linux-x64", "linux-arm64"];

let loaded: NativeAddon | undefined;

/**
 * The native addon of this environment, loaded on first use.
 *
 * `SHIMMY_NATIVE_BUILD` chooses the build of one CMake preset; without it a prebuilt addon in
 * `prebuilds/` is taken, else the release build of this checkout.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_NATIVE_MISSING` when there is none or it does not load.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `SHIMMY_NATIVE_BUILD` is unknown.
 */
export function native(): NativeAddon {
  loaded ??= load();
  return loaded;
}

/**
 * Files to try, in order.
 *
 * @param preset - The value of `SHIMMY_NATIVE_BUILD`.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when `preset` is unknown.
 */
export function addonCandidates(root: string, preset: string | undefined): string[] {
  if (preset !== undefined && !PRESETS.includes(preset)) {
    throw new ShimmyError(
      "SHIMMY_ERR_INVALID_OPTION",
      `SHIMMY_NATIVE_BUILD must be one of ${PRESETS.join(", ")}, got "${preset}"`,
    );
  }
  if (preset !== undefined) return [join(root, "build", preset, "shimmy.node")];
  return [
    join(root, "prebuilds", `${process.platform}-${process.arch}${libcSuffix()}`, "shimmy.node"),
    join(root, "build", "release", "shimmy.node"),
  ];
}

/** What the name of a prebuilt addon ends with. */
function libcSuffix(): string {
  const arch = process.arch === "arm64" ? "aarch64" : "x86_64";
  if (!existsSync(`/lib/ld-musl-${arch}.so.1`)) return "";
  // musl may be installed beside the glibc that Node.js runs with. Without this the report looks
  // up the names of all peers.
  // Not in the types of Node.js 24.19.
  Object.assign(process.report, { excludeNetwork: true });
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined ? "-musl" : "";
}

function load(): NativeAddon {
  const candidates = addonCandidates(packageRoot(), process.env["SHIMMY_NATIVE_BUILD"]);
  const file = candidates.find((candidate) => existsSync(candidate));
  if (file === undefined) {
    throw new ShimmyError(
      "SHIMMY_ERR_NATIVE_MISSING",
      `no native addon at ${candidates.join(" or ")}; run "npm run build:native"`,
    );
  }
  try {
    return createRequire(import.meta.url)(file) as NativeAddon;
  } catch (cause) {
    throw new ShimmyError(
      "SHIMMY_ERR_NATIVE_MISSING",
      `the native addon ${file} does not load; run "npm run build:native"`,
      { cause },
    );
  }
}

/** The folder of package.json: this file is two levels below it, and three once compiled to dist/. */
function packageRoot(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json")) || folder === dirname(folder)) return folder;
  }
}
