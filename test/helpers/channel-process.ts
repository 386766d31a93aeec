import { fstatSync } from "node:fs";

import {
  PROTOCOL_VERSION,
  type AgentMessage,
  type ChannelAttachedMessage,
  type ChannelLink,
  type ChannelRingMessage,
  type ChannelRole,
} from "../../agent/api.ts";
import { ControlSocket, type OwnedFd } from "../../shm-core/lib/control-socket.ts";
import { streamPair } from "../../shm-core/lib/stream.ts";
import { TestSidecar, type Received } from "./test-sidecar.ts";

/** Parameters of the tests' channels. Data regions are {@link region}s of 16 KiB. */
export const LOCK = { kind: "lock", blocks: 4, blockBytes: 4096 } as const;

/** A memfd with every page, sealed: a page in front of so many bytes. */
export function region(bytes: number): OwnedFd {
  const [mine, theirs] = streamPair({ capacityBytes: bytes });
  const {
    fds: [doorbell, memory],
  } = mine.detach();
  doorbell.close();
  theirs.close();
  return memory;
}

/** Inode of a descriptor. */
export function inodeOf({ number }: OwnedFd): number {
  return fstatSync(number).ino;
}

/** One end of a link's doorbell. */
export class Doorbell {
  rings = 0;
  isHungUp = false;
  readonly #socket: ControlSocket;
  #wake: () => void = () => undefined;

  constructor(fd: OwnedFd) {
    this.#socket = ControlSocket.adopt(fd);
    this.#socket.onMessage = () => {
      this.rings++;
      this.#wake();
    };
    this.#socket.onClose = () => {
      this.isHungUp = true;
      this.#wake();
    };
  }

  ring(): void {
    this.#socket.send(Buffer.of(1));
  }

  async rung(count: number): Promise<void> {
    while (this.rings < count && !this.isHungUp) await this.#changed();
    if (this.rings < count) throw new Error("the doorbell hung up");
  }

  async hungUp(): Promise<void> {
    while (!this.isHungUp) await this.#changed();
  }

  close(): void {
    this.#socket.close();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** What an attachment has of one link. */
export interface OpenLink extends ChannelLink {
  readonly doorbell: Doorbell;
  /** Inodes of the regions that came with it. */
  readonly inodes: readonly number[];
}

/** A process that attaches channels, as far as the agent can tell. */
export class ChannelProcess {
  readonly socket: TestSidecar;
  readonly #toClose: { close(): void }[] = [];
  #request = 0;

  private constructor(socket: TestSidecar) {
    this.socket = socket;
  }

  /** Connects to a pod's socket and waits for the welcome. */
  static async connect(directory: string): Promise<ChannelProcess> {
    const socket = await TestSidecar.connect(directory);
    socket.read();
    socket.send({ type: "channelsHello", version: PROTOCOL_VERSION, pid: process.pid });
    await socket.next("welcome");
    return new ChannelProcess(socket);
  }

  /** Asks for a role; returns the answer, whichever it is. */
  async ask(
    topic: string,
    role: ChannelRole,
    parameters?: typeof LOCK,
  ): Promise<AgentMessage & { type: "channelAttached" | "channelRefused" }> {
    const request = ++this.#request;
    const start = "oldest";
    const rest = parameters === undefined ? {} : { parameters };
    this.socket.send({ type: "attachChannel", request, topic, role, start, ...rest });
    return this.#answer();
  }

  async attach(
    topic: string,
    role: ChannelRole,
    parameters?: typeof LOCK,
  ): Promise<ChannelAttachedMessage> {
    const answer = await this.ask(topic, role, parameters);
    if (answer.type === "channelAttached") return answer;
    throw new Error(`${answer.code}: ${answer.message}`);
  }

  /** Shows an attachment of before. */
  async reattach(
    before: ChannelAttachedMessage,
    role: ChannelRole,
    links: readonly ChannelLink[],
  ): Promise<AgentMessage & { type: "channelAttached" | "channelRefused" }> {
    const { attachment, channel, generation } = before;
    this.socket.send({
      type: "reattachChannel",
      request: ++this.#request,
      attachment,
      role,
      start: "oldest",
      channel,
      ...(generation === undefined ? {} : { generation }),
      links: links.map((link) => ({ generation: link.generation, number: link.number })),
    });
    return this.#answer();
  }

  /** Lodges a producer's ring; returns the inodes of both regions. */
  lodgeRing({ attachment }: ChannelAttachedMessage, generation: number): number[] {
    const regions = [region(16_384), region(4096)];
    const inodes = regions.map(inodeOf);
    this.socket.send(
      { type: "lodgeRegions", attachment, generation, regions: ["data", "producer"] },
      regions.map(({ number }) => number),
    );
    for (const each of regions) each.close();
    return inodes;
  }

  /** Waits for a ring. */
  async offered(): Promise<Received<ChannelRingMessage> & { readonly inodes: number[] }> {
    const offer = await this.socket.next("channelRing");
    this.#toClose.push(...offer.fds);
    return { ...offer, inodes: offer.fds.map(inodeOf) };
  }

  /** Lodges a consumer's region for a link. */
  lodgeLink({ attachment }: ChannelAttachedMessage, { generation, number }: ChannelLink): void {
    const own = region(4096);
    this.socket.send(
      { type: "lodgeRegions", attachment, generation, number, regions: ["consumer"] },
      [own.number],
    );
    own.close();
  }

  /** Waits for the other side of a link. */
  async linked(): Promise<OpenLink> {
    const {
      message: { generation, number },
      fds: [bell, ...regions],
    } = await this.socket.next("channelPeer");
    if (bell === undefined) throw new Error("no doorbell");
    const doorbell = new Doorbell(bell);
    this.#toClose.push(doorbell, ...regions);
    return { generation, number, doorbell, inodes: regions.map(inodeOf) };
  }

  /** Ends the connection to the agent, and nothing else. */
  disconnect(): void {
    this.socket.close();
  }

  /** Ends everything, as death would. */
  close(): void {
    this.socket.close();
    for (const each of this.#toClose.splice(0)) each.close();
  }

  async #answer(): Promise<AgentMessage & { type: "channelAttached" | "channelRefused" }> {
    return (await this.socket.next("channelAttached", "channelRefused")).message;
  }
}
