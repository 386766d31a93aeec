import type {
  AgentMessage,
  ChannelAttachedMessage,
  ChannelClientMessage,
  ChannelRole,
  ChannelStart,
} from "../../../../agent/api.ts";
import type { Catalog } from "../../../../agent/catalog.ts";
import { ChannelBroker, type ChannelBrokerDeps } from "../../../../agent/channels/broker.ts";
import type { ChannelMember } from "../../../../agent/channels/channel.ts";
import type { Fd } from "../../../../agent/native.ts";
import { catalogOf, channelBroker, FakeClock, FakeNative, type Sent } from "../fakes.ts";

/** Pods of two namespaces, and topics with and without roles. */
export const CATALOG = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
  - { name: c, address: 127.0.1.3 }
  - { name: x, namespace: other, address: 127.0.1.4 }
`;

/** What a lock-based channel of the tests is made with, and its regions' sizes. */
export const LOCK = { kind: "lock", blocks: 4, blockBytes: 4096 } as const;
export const LOCKFREE = { kind: "lockfree", blocks: 4, blockBytes: 4096 } as const;
export const DATA_BYTES = 5 * 4096;

/** A process that attaches channels, as the broker sees it. */
export class FakeProcess implements ChannelMember {
  readonly pod: string;
  readonly pid: number;
  readonly sent: Sent[] = [];
  isReachable = true;
  readonly #test: ChannelTest;
  #request = 0;

  constructor(test: ChannelTest, pod: string, pid: number) {
    this.#test = test;
    this.pod = pod;
    this.pid = pid;
  }

  send(message: AgentMessage, fds: readonly Fd[] = []): boolean {
    if (!this.isReachable) return false;
    this.sent.push({ message, fds: fds.map(({ number }) => number) });
    return true;
  }

  /** Sends a message to the broker; what it leaves of the descriptors is closed as by the client. */
  async say(message: ChannelClientMessage, fds: Fd[] = []): Promise<void> {
    this.#test.broker.receive(this, message, fds);
    for (const fd of fds) fd.close();
    await settle();
  }

  /** Attaches; returns the answer, whichever it is. */
  async attach(
    topic: string,
    role: ChannelRole,
    rest: { parameters?: object; start?: ChannelStart } = {},
  ): Promise<AgentMessage | undefined> {
    const request = ++this.#request;
    const { start = "oldest", ...more } = rest;
    await this.say({ type: "attachChannel", request, topic, role, start, ...more } as never);
    return this.sent.find(({ message }) => "request" in message && message.request === request)
      ?.message;
  }

  /** Attaches; fails unless that is granted. */
  async attached(
    topic: string,
    role: ChannelRole,
    rest?: { parameters?: object; start?: ChannelStart },
  ): Promise<ChannelAttachedMessage> {
    const answer = await this.attach(topic, role, rest);
    if (answer?.type === "channelAttached") return answer;
    throw new Error(`not attached: ${JSON.stringify(answer)}`);
  }

  /** Lodges a writer's regions. */
  async lodgeRing(
    { attachment, channel }: ChannelAttachedMessage,
    generation: number,
  ): Promise<void> {
    const metadata = channel.kind === "lock" ? "producer" : "global";
    this.#test.native.facts = { bytes: DATA_BYTES, allocatedBytes: DATA_BYTES, id: "" };
    await this.say({ type: "lodgeRegions", attachment, generation, regions: ["data", metadata] }, [
      this.#test.native.fd(),
      this.#test.native.fd(),
    ]);
  }

  /** Lodges a reader's region for the link that was offered last, and returns the offer. */
  async lodgeLink(attached: ChannelAttachedMessage): Promise<Offer> {
    const offer = this.last("channelRing");
    if (offer === undefined) throw new Error("no ring was offered");
    const { generation, number } = offer;
    const kind = attached.channel.kind === "lock" ? "consumer" : "local";
    this.#test.native.facts = { bytes: 4096, allocatedBytes: 4096, id: "" };
    await this.say(
      {
        type: "lodgeRegions",
        attachment: attached.attachment,
        generation,
        number,
        regions: [kind],
      },
      [this.#test.native.fd()],
    );
    return offer;
  }

  /** Messages of a type. */
  all<T extends AgentMessage["type"]>(type: T): (AgentMessage & { type: T })[] {
    return this.sent
      .map(({ message }) => message)
      .filter((message): message is AgentMessage & { type: T } => message.type === type);
  }

  last<T extends AgentMessage["type"]>(type: T): (AgentMessage & { type: T }) | undefined {
    return this.all(type).at(-1);
  }
}

export type Offer = AgentMessage & { type: "channelRing" };

/** A broker without a kernel, and processes that talk to it. */
export class ChannelTest {
  readonly native = new FakeNative();
  readonly clock = new FakeClock();
  readonly broker: ChannelBroker;
  catalog: Catalog;
  #pid = 100;

  constructor(options: Partial<ChannelBrokerDeps> & { catalog?: string } = {}) {
    const { catalog = CATALOG, ...deps } = options;
    this.catalog = catalogOf(catalog);
    this.broker = channelBroker(this.catalog, {
      native: this.native,
      clock: this.clock,
      ...deps,
    });
  }

  /** A process of a pod that said hello. */
  process(pod: string, pid = this.#pid++): FakeProcess {
    const member = new FakeProcess(this, pod, pid);
    this.broker.join(member);
    return member;
  }

  setCatalog(text: string): void {
    this.catalog = catalogOf(text);
    this.broker.setCatalog(this.catalog);
  }
}

/** Lets everything that was begun come to its end. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
}
