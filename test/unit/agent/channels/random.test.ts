import { expect } from "chai";
import fc from "fast-check";

import type { AgentMessage, ChannelAttachedMessage } from "../../../../agent/api.ts";
import { CATALOG, ChannelTest, LOCK, LOCKFREE, settle, type FakeProcess } from "./harness.ts";

const TOPICS = [
  { name: "jobs", parameters: LOCK, writer: "producer", reader: "consumer" },
  { name: "prices", parameters: LOCKFREE, writer: "publisher", reader: "subscriber" },
] as const;

/** A process with one role, which does what an honest one does when it is told to. */
class Honest {
  readonly process: FakeProcess;
  readonly isWriter: boolean;
  readonly #attached: ChannelAttachedMessage;
  #seen = 0;

  constructor(process: FakeProcess, isWriter: boolean, attached: ChannelAttachedMessage) {
    this.process = process;
    this.isWriter = isWriter;
    this.#attached = attached;
  }

  /** Answers everything that was not answered yet. */
  async serve(): Promise<void> {
    const { sent } = this.process;
    while (this.#seen < sent.length) {
      const message = sent[this.#seen++]?.message;
      if (message !== undefined) await this.#answer(message);
    }
  }

  /** What it says when its doorbells hang up. */
  async hangUp(): Promise<void> {
    const { attachment } = this.#attached;
    const links = this.process.all(this.isWriter ? "channelPeer" : "channelRing");
    for (const { generation, number } of links.slice(-1)) {
      await this.process.say(
        this.isWriter
          ? { type: "linkGone", attachment, generation, number }
          : { type: "generationFinished", attachment, generation },
      );
    }
  }

  async detach(): Promise<void> {
    await this.process.say({ type: "detachChannel", attachment: this.#attached.attachment });
  }

  async #answer(message: AgentMessage): Promise<void> {
    const isTold = message.type === "channelAttached" || message.type === "channelState";
    if (isTold && this.isWriter && message.generation !== undefined) {
      await this.process.lodgeRing(this.#attached, message.generation);
    } else if (message.type === "channelRing") {
      await this.process.lodgeLink(this.#attached);
    }
  }
}

/** A broker and all who have a role, of whatever pod. */
class Walk {
  readonly test = new ChannelTest();
  #all: Honest[] = [];

  /** Steps by their names; `which` chooses among those that there are. */
  readonly steps = {
    attachWriter: (which: number) => this.#attach(which, true),
    attachReader: (which: number) => this.#attach(which, false),
    serve: async (which: number) => this.#of(which)?.serve(),
    serveAll: async () => {
      for (const each of this.#all) await each.serve();
    },
    hangUp: async (which: number) => this.#of(which)?.hangUp(),
    detach: async (which: number) => this.#of(which)?.detach(),
    leave: (which: number) => {
      const one = this.#of(which);
      if (one === undefined) return Promise.resolve();
      this.test.broker.leave(one.process);
      this.#all = this.#all.filter((each) => each !== one);
      return Promise.resolve();
    },
    wait: (which: number) => {
      this.test.clock.advance(which * 1000);
      this.test.broker.sweep();
      return Promise.resolve();
    },
    roles: (which: number) => {
      const entry = "topics: [{ name: jobs, subscribers: [c] }]";
      this.test.setCatalog(`${CATALOG}\n${which % 4 === 0 ? entry : ""}`);
      return Promise.resolve();
    },
    delete: async (which: number) => {
      const topic = { namespace: "default", name: TOPICS[which % 2]?.name ?? "" };
      await this.test.broker.delete(topic, which % 4 < 2).catch(() => undefined);
    },
  };

  #of(which: number): Honest | undefined {
    return this.#all[which % Math.max(1, this.#all.length)];
  }

  async #attach(which: number, isWriter: boolean): Promise<void> {
    const topic = TOPICS[which % 4 === 0 ? 1 : 0];
    const process = this.test.process(`default.${"abc"[which % 3] ?? "a"}`);
    const { name, parameters } = topic;
    const answer = await process.attach(name, isWriter ? topic.writer : topic.reader, {
      parameters,
    });
    if (answer?.type === "channelAttached") this.#all.push(new Honest(process, isWriter, answer));
  }

  /** What holds whatever was done. */
  check(): void {
    const channels = this.test.broker.table.all();
    const lodged = channels.flatMap((channel) => channel.lodged);
    const held = lodged.map(({ region }) => region.fd.number);
    expect([...this.test.native.open].sort(), "descriptors held").to.deep.equal(held.sort());
    for (const channel of channels.filter(({ isLockBased }) => isLockBased)) {
      const links = channel.rings.flatMap((ring) => [...ring.links.values()]);
      expect(links.length, "links").to.be.at.most(1);
      for (const side of [channel.writers, channel.readers]) {
        const live = side.filter(({ state }) => state === "live");
        expect(live, "live of a side").to.have.length(Math.min(1, side.length));
      }
      const [oldest] = channel.rings.filter(({ isFinished }) => !isFinished);
      const read = channel.rings.find(({ links }) => links.size > 0);
      if (read !== undefined && !read.isFinished) expect(read, "out of order").to.equal(oldest);
    }
  }
}

describe("ChannelBroker, whatever processes do", function () {
  this.timeout(60_000);

  it("should hold each descriptor once, and let one at a time read the oldest ring", async function () {
    const names = Object.keys(new Walk().steps) as (keyof Walk["steps"])[];
    const step = fc.tuple(fc.constantFrom(...names, "serveAll" as const), fc.nat(20));
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        const walk = new Walk();
        for (const [name, which] of steps) {
          await walk.steps[name](which);
          await settle();
          walk.check();
        }
        walk.test.broker.stop();
        expect([...walk.test.native.open]).to.deep.equal([]);
      }),
      { numRuns: 200 },
    );
  });
});
