import { ChannelClient, type ConnectOptions } from "../../shm-core/lib/channel-client.ts";
import { Consumer } from "./consumer.ts";
import type { Endpoint, EndpointParts } from "./endpoint.ts";
import {
  resolveEndpointOptions,
  type EndpointOptions,
  type LockFreeParameters,
  type LockParameters,
  type Role,
  type SubscriberOptions,
} from "./options.ts";
import { Producer } from "./producer.ts";
import { Publisher } from "./publisher.ts";
import { Subscriber } from "./subscriber.ts";

/**
 * This program's connection to its node's agent, which introduces it to others.
 *
 * Messages do not go through the agent, and go on when it is away; the connection is made again by
 * itself. A topic is `name` of the own namespace, or `namespace/name`. Used on the thread that made
 * it; each worker connects by itself.
 *
 * Taking a role rejects with {@link ShimmyError}:
 * `SHIMMY_ERR_NOT_FOUND` when the topic has no channel and no parameters are given,
 * `SHIMMY_ERR_TOPIC_DENIED` when this pod may not have the role,
 * `SHIMMY_ERR_CHANNEL_MISMATCH` when the channel is of the other kind,
 * `SHIMMY_ERR_INVALID_OPTION` for options out of range,
 * `SHIMMY_ERR_LIMIT` when a bound of the pod is reached,
 * `SHIMMY_ERR_AGENT_UNAVAILABLE` when the agent does not answer, and
 * `SHIMMY_ERR_CLOSED` after {@link ShimmyClient.close}.
 */
export class ShimmyClient implements AsyncDisposable {
  readonly #client: ChannelClient;
  readonly #endpoints = new Set<WeakRef<Endpoint>>();
  readonly #collected = new FinalizationRegistry<WeakRef<Endpoint>>((endpoint) => {
    this.#endpoints.delete(endpoint);
  });

  private constructor(client: ChannelClient) {
    this.#client = client;
  }

  /**
   * Connects to the agent.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_AGENT_UNAVAILABLE` when no agent answers in time.
   * @throws {@link ShimmyError} `SHIMMY_ERR_NATIVE_MISSING` when there is no native addon.
   */
  static async connect(options: ConnectOptions = {}): Promise<ShimmyClient> {
    return new ShimmyClient(await ChannelClient.connect(options));
  }

  /** Becomes a producer of a lock-based channel, or stands by to be the next. */
  producer(topic: string, options: EndpointOptions<LockParameters> = {}): Promise<Producer> {
    return this.#attach("producer", topic, options, Producer);
  }

  /** Becomes a consumer of a lock-based channel, or stands by to be the next. */
  consumer(topic: string, options: EndpointOptions<LockParameters> = {}): Promise<Consumer> {
    return this.#attach("consumer", topic, options, Consumer);
  }

  /** Becomes a publisher of a lock-free channel. */
  publisher(topic: string, options: EndpointOptions<LockFreeParameters> = {}): Promise<Publisher> {
    return this.#attach("publisher", topic, options, Publisher);
  }

  /** Becomes a subscriber of a lock-free channel. */
  subscriber(topic: string, options: SubscriberOptions = {}): Promise<Subscriber> {
    return this.#attach("subscriber", topic, options, Subscriber);
  }

  /** Closes all its endpoints and ends the connection. Safe to call twice. */
  async close(): Promise<void> {
    for (const endpoint of this.#endpoints) endpoint.deref()?.close();
    this.#endpoints.clear();
    await this.#client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #attach<E extends Endpoint>(
    role: Role,
    topic: string,
    options: SubscriberOptions | EndpointOptions<LockParameters>,
    Kind: new (parts: EndpointParts) => E,
  ): Promise<E> {
    const id = await this.#client.attach(topic, resolveEndpointOptions(role, options));
    const waitMode = options.waitMode ?? "adaptive";
    const endpoint = new Kind({ client: this.#client, id, waitMode });
    if (this.#client.isClosed) endpoint.close();
    const reference = new WeakRef<Endpoint>(endpoint);
    this.#endpoints.add(reference);
    this.#collected.register(endpoint, reference);
    return endpoint;
  }
}
