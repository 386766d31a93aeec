// Channels on record in Redis, for agents that share topics outside Kubernetes.
//
//   I1  whatever the server does or says, an answer or an error comes within TIMEOUT_MS
//   I2  what is read is bounded before it is sent: whoever writes to the server cannot fill our memory
import { readFile } from "node:fs/promises";

import { createClient, ErrorReply } from "@redis/client";

import type { Clock } from "../../common/clock.ts";
import { messageOf, ShimmyError } from "../../common/errors.ts";
import type { Logger } from "../../common/log.ts";
import {
  encodeRecord,
  MAX_RECORD_BYTES,
  parseRecord,
  type ChannelRecord,
  type RegionsRecord,
} from "./record.ts";
import type { ChannelRegistry, RegistryState } from "./registry.ts";
import { topicKey, type Topic } from "./topic.ts";

/** Where the server is, and how to prove who we are. */
export interface RedisOptions {
  /** `redis://HOST:PORT/DATABASE`, or `rediss://` over TLS; without credentials. */
  readonly url: string;
  readonly username?: string | undefined;
  /** Read at each connect, so that a password that was changed is taken over. */
  readonly passwordFile?: string | undefined;
  /** Certificates of the authorities that may sign the server's; the system's when not given. */
  readonly caFile?: string | undefined;
  /** This node, which what is written of regions is under. */
  readonly node: string;
  readonly clock: Clock;
  readonly log: Logger;
}

type Client = ReturnType<typeof connectTo>;

const TIMEOUT_MS = 1000;
/** Operations that wait for the server; more are refused at once. */
const MAX_WAITING = 64;
/** After a failure the server is left alone so long, doubling up to the second. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;
/** What a node that is gone had is forgotten then. */
const REGIONS_SECONDS = 300;
const PREFIX = "shimmy";

/** See the top of the file. */
export class RedisRegistry implements ChannelRegistry {
  readonly #options: RedisOptions;
  #connection: Connection | undefined;
  #waiting = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #problem: string | undefined;
  #isClosed = false;

  constructor(options: RedisOptions) {
    this.#options = options;
  }

  get state(): RegistryState {
    const kind = "redis";
    return this.#problem === undefined ? { kind } : { kind, problem: this.#problem };
  }

  async find(topic: Topic): Promise<ChannelRecord | undefined> {
    const text = await this.#run(topic, (client) => read(client, topic));
    return text === "" ? undefined : parseRecord(text, topic);
  }

  async create(record: ChannelRecord): Promise<ChannelRecord> {
    const { topic } = record;
    const text = await this.#run(topic, async (client) => {
      const answer = await client.set(keyOf(topic), encodeRecord(record), { condition: "NX" });
      return answer === null ? read(client, topic) : undefined;
    });
    return text === undefined ? record : parseRecord(text, topic);
  }

  async put(record: ChannelRecord): Promise<void> {
    await this.#run(record.topic, (client) =>
      client.set(keyOf(record.topic), encodeRecord(record)),
    );
  }

  async remove(topic: Topic): Promise<void> {
    await this.#run(topic, (client) => client.del([keyOf(topic), this.#regionsKeyOf(topic)]));
  }

  async putRegions(topic: Topic, regions: RegionsRecord): Promise<void> {
    const key = this.#regionsKeyOf(topic);
    const text = JSON.stringify(regions);
    const expiration = { type: "EX", value: REGIONS_SECONDS } as const;
    await this.#run(topic, async (client) => {
      if (regions.regions.length === 0) await client.del(key);
      else await client.set(key, text, { expiration });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#connection?.close();
  }

  #regionsKeyOf(topic: Topic): string {
    return `${PREFIX}:regions:${topicKey(topic)}:${this.#options.node}`;
  }

  async #run<T>(topic: Topic, action: (client: Client) => Promise<T>): Promise<T> {
    this.#requireTurn();
    this.#waiting++;
    this.#connection ??= new Connection(this.#options);
    const connection = this.#connection;
    try {
      const result = await this.#within(async () => action(await connection.ready));
      this.#noteSuccess();
      return result;
    } catch (err) {
      throw this.#noteFailure(topic, connection, err);
    } finally {
      this.#waiting--;
    }
  }

  #requireTurn(): void {
    if (this.#isClosed) throw unavailable("it was closed");
    if (this.#waiting >= MAX_WAITING) throw unavailable("too many wait for it");
    if (this.#options.clock.now() < this.#pausedUntil) throw unavailable(this.#problem ?? "");
  }

  /** I1: what comes later is not waited for, on a connection that is not used any more. */
  async #within<T>(step: () => Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    const cancel = this.#options.clock.after(TIMEOUT_MS, () => {
      late.reject(new Error(`no answer in ${TIMEOUT_MS} ms`));
    });
    try {
      return await Promise.race([step(), late.promise]);
    } finally {
      cancel();
    }
  }

  #noteSuccess(): void {
    if (this.#problem !== undefined) this.#options.log.info("registry answers again");
    this.#problem = undefined;
    this.#pauseMs = FIRST_PAUSE_MS;
  }

  #noteFailure(topic: Topic, connection: Connection, err: unknown): ShimmyError {
    if (err instanceof ErrorReply && err.message.startsWith("WRONGTYPE")) {
      return new ShimmyError(
        "SHIMMY_ERR_REGISTRY_RECORD",
        `key ${keyOf(topic)} is none of a record: ${err.message}`,
        { cause: err },
      );
    }
    // Another server may have the name by now: a replica refuses writes, a new one knows us not.
    if (this.#connection === connection) this.#connection = undefined;
    connection.close();
    const problem = messageOf(err) || "the connection failed";
    const { clock, log } = this.#options;
    if (this.#problem === undefined) log.warn({ problem }, "registry does not answer");
    this.#problem = problem;
    if (clock.now() >= this.#pausedUntil) {
      this.#pausedUntil = clock.now() + this.#pauseMs;
      this.#pauseMs = Math.min(LONGEST_PAUSE_MS, this.#pauseMs * 2);
    }
    return unavailable(problem, err);
  }
}

/** One connection to the server. What fails on it fails for good. */
class Connection {
  /** Settles when commands can be sent. */
  readonly ready: Promise<Client>;
  #client: Client | undefined;
  #isClosed = false;

  constructor(options: RedisOptions) {
    this.ready = this.#connect(options);
    // Whoever waits is told; nobody may.
    this.ready.catch(() => undefined);
  }

  /** Also while it connects: a server that says nothing would keep it for ever. */
  close(): void {
    this.#isClosed = true;
    if (this.#client?.isOpen === true) this.#client.destroy();
  }

  async #connect(options: RedisOptions): Promise<Client> {
    const client = connectTo(await settingsOf(options));
    client.on("error", (err: unknown) => {
      options.log.debug({ problem: messageOf(err) }, "connection to Redis failed");
    });
    if (this.#isClosed) throw new Error("it was closed");
    this.#client = client;
    await client.connect();
    return client;
  }
}

interface Settings {
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
  readonly ca?: string;
}

async function settingsOf(options: RedisOptions): Promise<Settings> {
  const { url, username, passwordFile, caFile } = options;
  const password = passwordFile === undefined ? undefined : await readFile(passwordFile, "utf8");
  const ca = caFile === undefined ? undefined : await readFile(caFile, "utf8");
  return {
    url,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password: password.replace(/\r?\n$/, "") }),
    ...(ca === undefined ? {} : { ca }),
  };
}

function connectTo({ ca, ...settings }: Settings) {
  const common = { connectTimeout: TIMEOUT_MS, reconnectStrategy: false } as const;
  return createClient({
    ...settings,
    RESP: 2,
    socket: ca === undefined ? common : { ...common, tls: true, ca },
    disableOfflineQueue: true,
    disableClientInfo: true,
    maintNotifications: "disabled",
  });
}

/** I2: one byte more than a record may have tells that it has too many. */
async function read(client: Client, topic: Topic): Promise<string> {
  return (await client.getRange(keyOf(topic), 0, MAX_RECORD_BYTES)) ?? "";
}

function keyOf(topic: Topic): string {
  return `${PREFIX}:channel:${topicKey(topic)}`;
}

function unavailable(problem: string, cause?: unknown): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_REGISTRY_UNAVAILABLE", `registry: ${problem}`, { cause });
}
