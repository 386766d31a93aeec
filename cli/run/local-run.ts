import { ShimmyError } from "../../common/errors.ts";
import { allocateAddresses, canBind } from "../local/addresses.ts";
import {
  describeEnding,
  endingExitCode,
  processFailure,
  type ManagedProcess,
  type OutputStream,
} from "../local/managed-process.ts";
import { ADMIN_PORT, Mesh, TOPICS_PORT, type MeshPod } from "../local/mesh.ts";
import { listenersOn } from "../local/listeners.ts";
import { canConnect, waitUntil } from "../local/wait.ts";
import type { Workspace } from "../local/workspace.ts";
import { readTraffic, type PodTraffic } from "../traffic.ts";
import { commandWords, formatUpstreams, hasTopics, programEnv, type ProgramSpec } from "./plan.ts";

/** What a {@link LocalRun} works with. */
export interface LocalRunOptions {
  readonly programs: readonly ProgramSpec[];
  readonly workspace: Workspace;
  /** Whether the log lines of agent and sidecars are shown. */
  readonly isVerbose: boolean;
  readonly readyTimeoutMs: number;
  /** Tells the person something. */
  readonly say: (text: string) => void;
  /** Takes a line of a program's output. */
  readonly onLine: (name: string, line: string, stream: OutputStream) => void;
}

/** A program, where it is, and its process once it was started. */
interface Placed {
  readonly spec: ProgramSpec;
  readonly address: string;
  process?: ManagedProcess;
}

const LOOPBACK = "127.0.0.1";

/** The programs of one `shimmy run`, with an agent and a sidecar for each. */
export class LocalRun {
  readonly #options: LocalRunOptions;
  #placed: readonly Placed[] = [];
  #mesh: Mesh | undefined;
  #isEnding = false;

  constructor(options: LocalRunOptions) {
    this.#options = options;
  }

  /**
   * Starts agent and sidecars, then the programs that serve, then those that call.
   *
   * @returns When all run.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when something does not become ready, and
   * `SHIMMY_ERR_ADDRESS_IN_USE` when there is no address for a program.
   */
  async start(): Promise<void> {
    const { programs, workspace, isVerbose, say, onLine } = this.#options;
    await requireFreePorts(programs);
    this.#placed = await place(programs);
    const speaker = await topicsOfLocalhost(this.#placed);
    const mesh = await Mesh.start(workspace, {
      pods: this.#placed.map((placed) => toPod(placed, placed === speaker)),
      logLevel: isVerbose ? "info" : "warn",
      onLine: isVerbose ? onLine : () => undefined,
    });
    this.#mesh = mesh;
    for (const each of mesh.processes) this.#watchHelper(each);

    const servers = this.#placed.filter(isServer);
    for (const server of servers) this.#launch(server);
    await Promise.all(servers.map((server) => this.#awaitPorts(server)));
    for (const { spec, address } of servers) {
      const ports = spec.serves.map(({ service, port }) => `${service} on ${address}:${port}`);
      say(`${spec.name} serves ${ports.join(", ")}`);
    }
    for (const { spec } of this.#placed) {
      for (const { name, localPort } of spec.calls) {
        say(`${spec.name} calls ${name} on localhost:${localPort}`);
      }
    }
    if (speaker !== undefined) {
      say(`topics of ${speaker.spec.name} on localhost:${TOPICS_PORT}/v1/topics/NAME`);
    }
    for (const caller of this.#placed.filter(isCaller)) {
      this.#launch(caller);
      this.#tellFailure(caller);
    }
  }

  /**
   * Waits for the end of the programs that only call; when there are none, of those that serve.
   *
   * @returns The first of their exit codes that is not 0. Never, while ports are kept open for
   * another terminal.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when a program that serves ends before.
   */
  async ended(): Promise<number> {
    const callers = this.#placed.filter(isCaller);
    const servers = this.#placed.filter(isServer);
    const isKeptOpen = this.#placed.some(({ spec }) => spec.command === undefined);
    if (callers.length === 0 && !isKeptOpen) return firstFailure(servers);
    const lost = Promise.race(
      servers.map(async ({ process }) => {
        await process?.ended;
        if (process !== undefined) throw processFailure(process, "is needed by its callers");
        return 0;
      }),
    );
    if (isKeptOpen) {
      this.#options.say("ready; ctrl-C ends it");
      return lost;
    }
    // A server that is ended because its callers are done is nobody's failure.
    lost.catch(() => undefined);
    return Promise.race([firstFailure(callers), lost]);
  }

  /** What travelled so far, from the sidecars' own counters; of those that answer. */
  async traffic(): Promise<readonly PodTraffic[]> {
    const mesh = this.#mesh;
    if (mesh === undefined) return [];
    const all = await Promise.all(
      this.#placed.map(({ spec: { name } }) => readTraffic(name, mesh.adminUrl(name))),
    );
    return all.filter((traffic) => traffic !== undefined);
  }

  /**
   * Ends servers that went into the background and hid that they are of this run, as nginx does,
   * which writes over its environment. Called when everything else is stopped.
   *
   * Only on addresses that were given by us: what listens there was started by this run.
   */
  endDaemons(): void {
    for (const { spec, address } of this.#placed) {
      if (spec.address !== undefined) continue;
      const pids = new Set(spec.serves.flatMap(({ port }) => listenersOn(address, port)));
      for (const pid of pids) this.#endDaemon(spec.name, pid);
    }
  }

  #endDaemon(name: string, pid: number): void {
    this.#options.say(`${name} left process ${pid} in the background; it is ended`);
    try {
      process.kill(pid, "SIGTERM");
    } catch {
      // It has ended, with its parent for instance.
    }
  }

  /** From here on the end of a helper is no news. */
  expectEnd(): void {
    this.#isEnding = true;
  }

  #launch(placed: Placed): void {
    const { spec, address } = placed;
    const { workspace, programs, onLine } = this.#options;
    const env = programEnv(spec, address);
    const onlyCaller = programs.filter(({ serves }) => serves.length === 0).length === 1;
    placed.process = workspace.start({
      name: spec.name,
      argv: commandWords(spec.command ?? [], env),
      env: { ...env, ...spec.env },
      readsInput: isCaller(placed) && onlyCaller && !process.stdin.isTTY,
      onLine: (line, stream) => {
        onLine(spec.name, line, stream);
      },
      ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
    });
  }

  /** A program that failed without a word would leave the person guessing. */
  #tellFailure({ spec, process }: Placed): void {
    void process?.ended.then((ending) => {
      if (!this.#isEnding && endingExitCode(ending) !== 0) {
        this.#options.say(`${spec.name} ${describeEnding(ending)}`);
      }
    });
  }

  async #awaitPorts({ spec, address, process }: Placed): Promise<void> {
    if (process === undefined) return;
    for (const { port } of spec.serves) {
      try {
        await waitUntil({
          process,
          otherwise: `does not accept connections on ${address}:${port}`,
          timeoutMs: this.#options.readyTimeoutMs,
          condition: () => canConnect(address, port),
        });
      } catch (err) {
        throw await withHint(err, spec, { address, port });
      }
    }
  }

  #watchHelper(helper: ManagedProcess): void {
    void helper.ended.then((ending) => {
      if (this.#isEnding) return;
      const [last] = helper.lastLines.slice(-1);
      const words = last === undefined ? "" : `: ${last}`;
      this.#options.say(`${helper.name} ${describeEnding(ending)}${words}`);
    });
  }
}

function isServer({ spec }: Placed): boolean {
  return spec.serves.length > 0;
}

function isCaller({ spec }: Placed): boolean {
  return spec.serves.length === 0 && spec.command !== undefined;
}

function toPod({ spec, address }: Placed, isSpeaker: boolean): MeshPod {
  const { name, serves, calls } = spec;
  const own = hasTopics(address) ? [address] : [];
  const topicsAddresses = isSpeaker && address !== LOOPBACK ? [LOOPBACK, ...own] : own;
  return { name, address, serves, upstreams: formatUpstreams(calls), topicsAddresses };
}

/** The program as which a terminal uses topics; none when another run has the port. */
async function topicsOfLocalhost(placed: readonly Placed[]): Promise<Placed | undefined> {
  const speaker = placed.find(({ address }) => address === LOOPBACK) ?? placed[0];
  return (await canBind(LOOPBACK, TOPICS_PORT)) ? speaker : undefined;
}

/** A sidecar would say so too, but not whose port it is and what to do. */
async function requireFreePorts(programs: readonly ProgramSpec[]): Promise<void> {
  for (const { name, calls } of programs) {
    for (const { name: service, localPort } of calls) {
      if (await canBind(LOOPBACK, localPort)) continue;
      throw new ShimmyError(
        "SHIMMY_ERR_ADDRESS_IN_USE",
        `${name} calls ${service} on local port ${localPort}, which another program has ` +
          "(ss -ltnp shows which); choose another",
      );
    }
  }
}

async function place(programs: readonly ProgramSpec[]): Promise<Placed[]> {
  const open = programs.filter(({ address }) => address === undefined);
  const needed = open.map(({ serves }) => [
    ADMIN_PORT,
    TOPICS_PORT,
    ...serves.map(({ port }) => port),
  ]);
  const given = programs.flatMap(({ address }) => address ?? []);
  const free = await allocateAddresses(needed, { taken: given });
  return programs.map((spec) => ({ spec, address: spec.address ?? free.shift() ?? "" }));
}

async function firstFailure(placed: readonly Placed[]): Promise<number> {
  const processes = placed.map(({ process }) => process).filter((each) => each !== undefined);
  const endings = await Promise.all(processes.map(({ ended }) => ended));
  return endings.map(endingExitCode).find((code) => code !== 0) ?? 0;
}

/** The usual slip: a server that listens on localhost instead of the address it was given. */
async function withHint(
  err: unknown,
  { name }: ProgramSpec,
  { address, port }: { address: string; port: number },
): Promise<unknown> {
  if (!(err instanceof ShimmyError) || address === LOOPBACK) return err;
  if (!(await canConnect(LOOPBACK, port))) return err;
  const hint =
    `something accepts on ${LOOPBACK}:${port}: if that is ${name}, ` +
    `let it listen on \${ADDRESS} or give it that address`;
  return new ShimmyError(err.code, `${err.message}; ${hint}`, { cause: err });
}
