import { ShimmyError } from "../../common/errors.ts";
import type {
  Consumer,
  Producer,
  Publisher,
  ShimmyClient,
  Subscriber,
} from "../../sdk/typescript/index.ts";
import type {
  Delivery,
  OpenOptions,
  Start,
  TopicReader,
  TopicTransport,
  TopicWriter,
} from "./transport.ts";

/** Options for {@link SdkTransport}. */
export interface SdkTransportOptions {
  /** The agent's, as {@link ShimmyClient.connect} takes it. */
  readonly socket: string;
  /** Rejects when somebody else than the agent listens there. */
  readonly check: () => Promise<void>;
}

/** Topics by the SDK. It is loaded, and connects to the agent, with the first request. */
export class SdkTransport implements TopicTransport {
  readonly #options: SdkTransportOptions;
  #client: Promise<ShimmyClient> | undefined;
  #isClosed = false;

  constructor(options: SdkTransportOptions) {
    this.#options = options;
  }

  async openWriter({ topic, create }: OpenOptions): Promise<TopicWriter> {
    const client = await this.#connected();
    const writer = await eitherKind(
      create,
      (parameters) => client.publisher(topic, parameters),
      (parameters) => client.producer(topic, parameters),
    );
    const { kind, maxBytes } = writer.info();
    return {
      kind,
      maxBytes,
      get isOver() {
        return writer.isClosed || writer.info().state === "over";
      },
      publish: (data, timeoutMs) => writer.publish(data, { timeoutMs }),
      isDrained: () => isDrained(writer),
      close: () => {
        writer.close();
      },
    };
  }

  async openReader(options: OpenOptions & { readonly start: Start }): Promise<TopicReader> {
    const client = await this.#connected();
    const { topic, create, start } = options;
    const reader = await eitherKind(
      create,
      (parameters) => client.subscriber(topic, { ...parameters, start }),
      (parameters) => client.consumer(topic, parameters),
    );
    const { kind, maxLoans, maxBytes } = reader.info();
    const isLent = kind === "lock" && maxLoans > 0;
    return {
      kind,
      maxBytes,
      next: isLent ? (signal) => lend(reader, signal) : (signal) => take(reader, signal),
      close: () => {
        reader.close();
      },
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const client = await this.#client?.catch(() => undefined);
    await client?.close();
  }

  #connected(): Promise<ShimmyClient> {
    if (this.#isClosed) throw new ShimmyError("SHIMMY_ERR_CLOSED", "the sidecar is stopping");
    if (this.#client !== undefined) return this.#client;
    const { socket, check } = this.#options;
    const connecting = (async () => {
      await check();
      const { ShimmyClient: Client } = await import("../../sdk/typescript/index.ts");
      return await Client.connect({ socket });
    })();
    this.#client = connecting;
    connecting.catch(() => {
      if (this.#client === connecting) this.#client = undefined;
    });
    return connecting;
  }
}

async function isDrained(writer: Producer | Publisher): Promise<boolean> {
  if (!("drain" in writer)) return true;
  try {
    await writer.drain({ timeoutMs: 0 });
    return true;
  } catch {
    // Not read yet, or over: then the next who writes notices.
    return false;
  }
}

/** A copy: of a lock-free channel nothing is to be given back. */
async function take(reader: Reader, signal: AbortSignal): Promise<Delivery | undefined> {
  const message = await reader.take({ signal });
  if (message === undefined) return undefined;
  return { ...message, release: () => undefined };
}

/**
 * A loan whose bytes are copied: should this process die, or the client be gone, the message is still
 * there.
 */
async function lend(reader: Reader, signal: AbortSignal): Promise<Delivery | undefined> {
  const loan = await reader.loan({ signal });
  if (loan === undefined) return undefined;
  const { sequence, generation, missed } = loan;
  return {
    data: Buffer.from(loan.data),
    sequence,
    generation,
    missed,
    release: () => {
      loan[Symbol.dispose]();
    },
  };
}

type Reader = Consumer | Subscriber;

/** The agent knows of which kind a channel is, and says when it is the other one. */
async function eitherKind<F, L>(
  create: OpenOptions["create"],
  lockFree: (parameters: { parameters?: { kind: "lockfree" } }) => Promise<F>,
  lockBased: (parameters: { parameters?: { kind: "lock" } }) => Promise<L>,
): Promise<F | L> {
  if (create === "lock") return await lockBased({ parameters: { kind: "lock" } });
  if (create === "lockfree") return await lockFree({ parameters: { kind: "lockfree" } });
  try {
    return await lockFree({});
  } catch (err) {
    if (!(err instanceof ShimmyError) || err.code !== "SHIMMY_ERR_CHANNEL_MISMATCH") throw err;
    return await lockBased({});
  }
}
