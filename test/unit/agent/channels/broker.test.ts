import { expect } from "chai";

import { MemoryRegistry } from "../../../../agent/channels/registry.ts";
import type { Topic } from "../../../../agent/channels/topic.ts";
import { DEFAULT_QUOTAS } from "../../../../agent/quotas.ts";
import { CATALOG, ChannelTest, DATA_BYTES, LOCK, LOCKFREE, settle } from "./harness.ts";

describe("ChannelBroker", function () {
  let test: ChannelTest;

  beforeEach(function () {
    test = new ChannelTest();
  });

  afterEach(function () {
    test.broker.stop();
    expect([...test.native.open], "descriptors left open").to.deep.equal([]);
  });

  describe("attachChannel", function () {
    it("should make the channel with the parameters of the first, for all", async function () {
      const a = await test.process("default.a").attached("jobs", "producer", { parameters: LOCK });
      const b = await test.process("default.b").attached("default/jobs", "consumer");
      expect(a.channel).to.deep.include({ ...LOCK, topic: "default/jobs", maxLoans: 8 });
      expect(a.channel.id).to.match(/^[1-9]\d*$/);
      expect(b.channel).to.deep.equal(a.channel);
      expect(a).to.include({ state: "live" });
      expect(a.generation).to.be.greaterThan(0);
      expect(b).to.include({ state: "live" }).and.not.have.property("generation");
    });

    it("should find one channel for two who make it at once", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const [one, other] = await Promise.all([
        a.attached("jobs", "producer", { parameters: LOCK }),
        b.attached("jobs", "consumer", { parameters: { ...LOCK, blocks: 8 } }),
      ]);
      expect(one.channel).to.deep.equal(other.channel);
    });

    const refused: [what: string, pod: string, topic: string, role: string, expected: object][] = [
      [
        "an unknown topic without parameters",
        "a",
        "none",
        "consumer",
        { code: "SHIMMY_ERR_NOT_FOUND" },
      ],
      [
        "a role of the other kind",
        "b",
        "jobs",
        "subscriber",
        { code: "SHIMMY_ERR_CHANNEL_MISMATCH" },
      ],
      [
        "a pod of another namespace",
        "x",
        "default/jobs",
        "consumer",
        { code: "SHIMMY_ERR_TOPIC_DENIED", reason: "other_namespace" },
      ],
    ];
    for (const [what, pod, topic, role, expected] of refused) {
      it(`should refuse ${what}`, async function () {
        await test.process("default.a").attached("jobs", "producer", { parameters: LOCK });
        const uid = pod === "x" ? "other.x" : `default.${pod}`;
        const answer = await test.process(uid).attach(topic, role as never);
        expect(answer).to.include({ type: "channelRefused", ...expected });
      });
    }

    it("should not let a squatter make a topic of another namespace", async function () {
      const answer = await test
        .process("other.x")
        .attach("default/prices", "publisher", { parameters: LOCKFREE });
      expect(answer).to.include({ code: "SHIMMY_ERR_TOPIC_DENIED", reason: "other_namespace" });
      expect(test.broker.table.size).to.equal(0);
    });

    it("should refuse parameters out of bounds", async function () {
      const answer = await test
        .process("default.a")
        .attach("jobs", "producer", { parameters: { ...LOCK, blockBytes: 100 } });
      expect(answer).to.include({ code: "SHIMMY_ERR_INVALID_OPTION" });
    });

    it("should refuse more attachments and channels than the quota", async function () {
      const quotas = { ...DEFAULT_QUOTAS, attachmentsPerPod: 2, channelsPerPod: 1 };
      test = new ChannelTest({ quotas });
      const a = test.process("default.a");
      await a.attached("one", "producer", { parameters: LOCK });
      expect(await a.attach("two", "producer", { parameters: LOCK })).to.include({
        code: "SHIMMY_ERR_LIMIT",
      });
      await a.attached("one", "consumer");
      expect(await a.attach("one", "consumer")).to.include({ code: "SHIMMY_ERR_LIMIT" });
    });

    it("should refuse requests beyond the rate", async function () {
      const quotas = { ...DEFAULT_QUOTAS, channelRequests: { perSecond: 1, burst: 1 } };
      test = new ChannelTest({ quotas });
      const a = test.process("default.a");
      await a.attached("one", "producer", { parameters: LOCK });
      expect(await a.attach("one", "consumer")).to.include({ code: "SHIMMY_ERR_RATE_LIMITED" });
    });
  });

  describe("a lock-based channel", function () {
    it("should introduce producer and consumer, and keep no doorbell", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const producer = await a.attached("jobs", "producer", { parameters: LOCK });
      const consumer = await b.attached("jobs", "consumer");
      expect(b.all("channelRing")).to.deep.equal([]);
      await a.lodgeRing(producer, producer.generation ?? 0);
      const offer = await b.lodgeLink(consumer);
      expect(offer).to.deep.include({
        generation: producer.generation,
        isEnded: false,
        regions: ["data", "producer"],
        start: "oldest",
      });
      expect(offer.writer).to.include({ uid: "default.a", name: "a" });
      const [atA, atB] = [a.last("channelPeer"), b.last("channelPeer")];
      expect(atA).to.deep.include({ number: offer.number, regions: ["consumer"] });
      expect(atA?.peer).to.include({ uid: "default.b" });
      expect(atB).to.deep.include({ number: offer.number, regions: [] });
      expect(a.sent.at(-1)?.fds).to.have.length(2);
      expect(b.sent.at(-1)?.fds).to.have.length(1);
      // Data, producer's and consumer's metadata: no end of the doorbell.
      expect(test.native.open.size).to.equal(3);
    });

    it("should promote standby producers in order, with new generations", async function () {
      const a = test.process("default.a");
      const b = test.process("default.b");
      const c = test.process("default.c");
      const { generation = 0 } = await a.attached("jobs", "producer", { parameters: LOCK });
      const second = await b.attached("jobs", "producer");
      expect(second).to.include({ state: "standby" }).and.not.have.property("generation");
      await c.attached("jobs", "producer");
      test.broker.leave(a);
      expect(b.last("channelState")).to.include({ state: "live", generation: generation + 1 });
      expect(c.all("channelState")).to.deep.equal([]);
      await b.say({ type: "detachChannel", attachment: second.attachment });
      expect(c.last("channelState")).to.include({ state: "live" });
    });

    it("should offer the generations oldest first, each until it is finished", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const one = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(one, one.generation ?? 0);
      test.broker.leave(a);
      const again = test.process("default.a");
      const two = await again.attached("jobs", "producer");
      await again.lodgeRing(two, two.generation ?? 0);

      const consumer = await b.attached("jobs", "consumer");
      const first = await b.lodgeLink(consumer);
      expect(first).to.include({ generation: one.generation, isEnded: true });
      expect(b.all("channelPeer")).to.deep.equal([]);
      expect(b.all("channelRing")).to.have.length(1);
      await b.say({
        type: "generationFinished",
        attachment: consumer.attachment,
        generation: first.generation,
      });
      const second = await b.lodgeLink(consumer);
      expect(second).to.include({ generation: two.generation, isEnded: false });
      expect(b.last("channelPeer")).to.include({ generation: two.generation });
      // The first ring's are closed.
      expect(test.native.open.size).to.equal(3);
    });

    it("should tell the consumer that its producer is gone, and keep the ring for it", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const producer = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(producer, producer.generation ?? 0);
      const consumer = await b.attached("jobs", "consumer");
      const offer = await b.lodgeLink(consumer);
      test.broker.leave(a);
      expect(b.last("channelPeerGone")).to.include({ number: offer.number, isOver: false });
      expect(test.native.open.size).to.equal(3);
    });

    it("should not take a ring for finished while its writer is there", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const producer = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(producer, producer.generation ?? 0);
      const consumer = await b.attached("jobs", "consumer");
      const { generation } = await b.lodgeLink(consumer);
      const finished = {
        type: "generationFinished",
        attachment: consumer.attachment,
        generation,
      } as const;
      await b.say(finished);
      const again = await b.lodgeLink(consumer);
      expect(again).to.include({ generation, isEnded: false });
      test.broker.leave(a);
      await b.say(finished);
      expect(test.broker.table.get("default/jobs")?.rings).to.deep.equal([]);
      expect(b.all("channelRing")).to.have.length(2);
    });

    it("should hand a consumer's metadata to the one after it", async function () {
      const [a, b, c] = [
        test.process("default.a"),
        test.process("default.b"),
        test.process("default.c"),
      ];
      const producer = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(producer, producer.generation ?? 0);
      const first = await b.attached("jobs", "consumer");
      const before = await b.lodgeLink(first);
      const second = await c.attached("jobs", "consumer");
      expect(second.state).to.equal("standby");
      expect(c.all("channelRing")).to.deep.equal([]);
      test.broker.leave(b);
      expect(a.last("channelPeerGone")).to.include({ number: before.number, isOver: true });
      expect(c.last("channelState")).to.include({ state: "live" });
      const after = await c.lodgeLink(second);
      expect(after.number).to.be.greaterThan(before.number);
      expect(after).to.deep.include({
        previous: before.number,
        regions: ["data", "producer", "consumer"],
      });
      expect(a.last("channelPeer")).to.include({ number: after.number });
    });

    it("should offer a ring again when its writer gave the link up, but not for ever", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const producer = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(producer, producer.generation ?? 0);
      const consumer = await b.attached("jobs", "consumer");
      for (let turn = 0; turn < 8; turn++) {
        const { generation, number } = await b.lodgeLink(consumer);
        await a.say({
          type: "linkGone",
          attachment: producer.attachment,
          generation,
          number,
        });
      }
      expect(b.all("channelRing")).to.have.length(8);
      expect(b.all("channelPeerGone").every(({ isOver }) => isOver)).to.equal(true);
      expect(b.last("channelDetached")).to.include({ code: "SHIMMY_ERR_LIMIT" });
    });
  });

  describe("a lock-free channel", function () {
    it("should link every publisher with every subscriber", async function () {
      const writers = [test.process("default.a"), test.process("default.a")];
      const readers = [test.process("default.b"), test.process("default.c")];
      const rings: number[] = [];
      for (const writer of writers) {
        const attached = await writer.attached("prices", "publisher", { parameters: LOCKFREE });
        expect(attached.state).to.equal("live");
        rings.push(attached.generation ?? 0);
        await writer.lodgeRing(attached, attached.generation ?? 0);
      }
      for (const reader of readers) {
        const attached = await reader.attached("prices", "subscriber", { start: "newest" });
        expect(reader.all("channelRing").map(({ generation }) => generation)).to.deep.equal(rings);
        for (const { generation, number, start } of reader.all("channelRing")) {
          expect(start).to.equal("newest");
          test.native.facts = { bytes: 4096, allocatedBytes: 4096, id: "" };
          const { attachment } = attached;
          await reader.say(
            { type: "lodgeRegions", attachment, generation, number, regions: ["local"] },
            [test.native.fd()],
          );
        }
        expect(reader.all("channelPeer")).to.have.length(2);
      }
      for (const writer of writers) expect(writer.all("channelPeer")).to.have.length(2);
    });

    it("should let late subscribers read what a publisher left, until its time is over", async function () {
      const a = test.process("default.a");
      const publisher = await a.attached("prices", "publisher", { parameters: LOCKFREE });
      await a.lodgeRing(publisher, publisher.generation ?? 0);
      test.broker.leave(a);
      const b = test.process("default.b");
      const early = await b.attached("prices", "subscriber");
      expect(b.last("channelRing")).to.include({ isEnded: true });
      await b.lodgeLink(early);
      const newest = test.process("default.c");
      await newest.attached("prices", "subscriber", { start: "newest" });
      expect(newest.all("channelRing")).to.deep.equal([]);
      test.clock.advance(1001);
      test.broker.sweep();
      // It is being read.
      expect(test.broker.table.get("default/prices")?.rings).to.have.length(1);
      await b.say({
        type: "generationFinished",
        attachment: early.attachment,
        generation: publisher.generation ?? 0,
      });
      test.broker.sweep();
      expect(test.broker.table.get("default/prices")?.rings).to.have.length(0);
      expect(test.native.open.size).to.equal(0);
    });

    it("should take no more than 64 subscribers", async function () {
      const a = test.process("default.a");
      await a.attached("prices", "subscriber", { parameters: LOCKFREE });
      for (let count = 1; count < 64; count++) await a.attached("prices", "subscriber");
      expect(await a.attach("prices", "subscriber")).to.include({ code: "SHIMMY_ERR_LIMIT" });
    });
  });

  describe("lodgeRegions", function () {
    const bad: [what: string, facts: Partial<typeof test.native.facts>, code: string][] = [
      ["too small", { bytes: DATA_BYTES - 4096 }, "SHIMMY_ERR_BAD_REGION"],
      ["too large", { bytes: DATA_BYTES + 1024 * 1024 }, "SHIMMY_ERR_BAD_REGION"],
      ["with holes", { allocatedBytes: DATA_BYTES - 4096 }, "SHIMMY_ERR_BAD_REGION"],
    ];
    for (const [what, facts, code] of bad) {
      it(`should end an attachment that lodges a region ${what}`, async function () {
        const a = test.process("default.a");
        const { attachment, generation = 0 } = await a.attached("jobs", "producer", {
          parameters: LOCK,
        });
        test.native.facts = { bytes: DATA_BYTES, allocatedBytes: DATA_BYTES, id: "", ...facts };
        await a.say(
          { type: "lodgeRegions", attachment, generation, regions: ["data", "producer"] },
          [test.native.fd(), test.native.fd()],
        );
        expect(a.last("channelDetached")).to.include({ attachment, code });
        expect(test.broker.table.attachmentCount).to.equal(0);
      });
    }

    it("should close what comes for an attachment that is not this process's", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const { attachment, generation = 0 } = await a.attached("jobs", "producer", {
        parameters: LOCK,
      });
      await b.say({ type: "lodgeRegions", attachment, generation, regions: ["data", "producer"] }, [
        test.native.fd(),
        test.native.fd(),
      ]);
      expect(test.native.open.size).to.equal(0);
      expect(test.broker.table.attachmentCount).to.equal(1);
    });

    it("should not hold descriptors without end for a process whose looks take long", async function () {
      const a = test.process("default.a");
      const { attachment, generation = 0 } = await a.attached("jobs", "producer", {
        parameters: LOCK,
      });
      const look = Promise.withResolvers<typeof test.native.facts>();
      test.native.inspectMemfd = () => look.promise;
      const regions = ["data", "producer"] as const;
      const message = { type: "lodgeRegions", attachment, generation, regions } as const;
      for (let count = 0; count < 200; count++) {
        test.broker.receive(a, message, [test.native.fd(), test.native.fd()]);
      }
      await settle();
      expect(a.last("channelDetached")).to.include({ code: "SHIMMY_ERR_LIMIT" });
      expect(test.native.open.size).to.be.at.most(256);
      look.resolve({ bytes: DATA_BYTES, allocatedBytes: DATA_BYTES, id: "1" });
      for (let turn = 0; turn < 200; turn++) await settle();
      expect(test.native.open.size).to.equal(0);
    });

    it("should end an attachment when there is no doorbell to be had", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const producer = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(producer, producer.generation ?? 0);
      const consumer = await b.attached("jobs", "consumer");
      test.native.isExhausted = true;
      await b.lodgeLink(consumer);
      expect(b.last("channelDetached")).to.include({ code: "SHIMMY_ERR_LIMIT" });
      test.native.isExhausted = false;
      const c = test.process("default.c");
      const next = await c.attached("jobs", "consumer");
      await c.lodgeLink(next);
      expect(c.all("channelPeer")).to.have.length(1);
    });

    it("should end an attachment beyond the pod's bytes", async function () {
      test = new ChannelTest({ quotas: { ...DEFAULT_QUOTAS, channelBytesPerPod: DATA_BYTES } });
      const a = test.process("default.a");
      const attached = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(attached, attached.generation ?? 0);
      expect(a.last("channelDetached")).to.include({ code: "SHIMMY_ERR_LIMIT" });
    });
  });

  describe("policy", function () {
    const ROLES = `${CATALOG}
topics:
  - { name: prices, publishers: [a], subscribers: [b, other/x] }
`;

    it("should grant roles to whom the catalog names, also of other namespaces", async function () {
      test = new ChannelTest({ catalog: ROLES });
      await test.process("default.a").attached("prices", "publisher", { parameters: LOCKFREE });
      await test.process("other.x").attached("default/prices", "subscriber");
      for (const [pod, role] of [
        ["default.b", "publisher"],
        ["default.c", "subscriber"],
        ["other.x", "publisher"],
      ] as const) {
        expect(await test.process(pod).attach("default/prices", role)).to.include({
          code: "SHIMMY_ERR_TOPIC_DENIED",
          reason: "no_role",
        });
      }
    });

    it("should end attachments whose role is taken back (I1)", async function () {
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const producer = await a.attached("prices", "publisher", { parameters: LOCKFREE });
      await a.lodgeRing(producer, producer.generation ?? 0);
      const subscriber = await b.attached("prices", "subscriber");
      const { number } = await b.lodgeLink(subscriber);
      test.setCatalog(`${CATALOG}\ntopics: [{ name: prices, subscribers: [c] }]`);
      await settle();
      expect(b.last("channelDetached")).to.include({ code: "SHIMMY_ERR_TOPIC_DENIED" });
      expect(a.last("channelPeerGone")).to.include({ number, isOver: true });
      expect(a.all("channelDetached")).to.deep.equal([]);
    });

    it("should make a declared channel as it is declared, and anew when that changes", async function () {
      const declared = (blocks: number): string =>
        `${CATALOG}\ntopics: [{ name: jobs, kind: lock, blocks: ${blocks}, blockBytes: 128 }]`;
      test = new ChannelTest({ catalog: declared(8) });
      const a = test.process("default.a");
      const one = await a.attached("jobs", "producer", { parameters: LOCK });
      expect(one.channel).to.include({ blocks: 8, blockBytes: 128 });
      test.setCatalog(declared(16));
      expect(a.last("channelDetached")).to.include({ code: "SHIMMY_ERR_CHANNEL_IN_USE" });
      const two = await a.attached("jobs", "producer");
      expect(two.channel).to.include({ blocks: 16 });
      expect(two.channel.id).to.not.equal(one.channel.id);
    });
  });

  describe("#delete()", function () {
    const TOPIC = { namespace: "default", name: "jobs" };

    it("should refuse what is attached and say by whom, unless by force", async function () {
      const a = test.process("default.a");
      await a.attached("jobs", "producer", { parameters: LOCK });
      const refusal = await test.broker.delete(TOPIC, false).catch((err: unknown) => err);
      expect(refusal)
        .to.include({ code: "SHIMMY_ERR_CHANNEL_IN_USE" })
        .and.have.property("message", "topic default/jobs is attached by default/a (producer)");
      await test.broker.delete(TOPIC, true);
      expect(a.last("channelDetached")).to.include({ code: "SHIMMY_ERR_CHANNEL_IN_USE" });
      expect(test.broker.table.size).to.equal(0);
      expect(await a.attach("jobs", "producer")).to.include({ code: "SHIMMY_ERR_NOT_FOUND" });
    });

    it("should not put the record back that it removed", async function () {
      const a = test.process("default.a");
      await a.attached("jobs", "producer", { parameters: LOCK });
      await test.broker.delete(TOPIC, true);
      test.clock.advance(1000);
      await settle();
      expect(await test.process("default.b").attach("jobs", "consumer")).to.include({
        code: "SHIMMY_ERR_NOT_FOUND",
      });
    });

    for (const isForced of [false, true]) {
      const what = isForced ? "end" : "refuse to delete";
      it(`should ${what} a channel that came into use while it asked the registry`, async function () {
        const registry = new SlowRegistry();
        test = new ChannelTest({ registry });
        await registry.create({
          topic: TOPIC,
          id: "1",
          parameters: { ...LOCK, readers: 1, timeToLiveMs: 0, maxLoans: 8 },
        });
        const done = test.broker.delete(TOPIC, isForced).catch((err: unknown) => err);
        await settle();
        const a = test.process("default.a");
        await a.attached("jobs", "consumer");
        registry.letRemove();
        const result = await done;
        if (isForced) {
          expect(result).to.equal(undefined);
          expect(a.last("channelDetached")).to.include({ code: "SHIMMY_ERR_CHANNEL_IN_USE" });
          expect(test.broker.table.size).to.equal(0);
        } else {
          expect(result).to.include({ code: "SHIMMY_ERR_CHANNEL_IN_USE" });
          expect(a.all("channelDetached")).to.deep.equal([]);
        }
      });
    }

    it("should not find what is not there", async function () {
      const refusal = await test.broker.delete(TOPIC, true).catch((err: unknown) => err);
      expect(refusal).to.include({ code: "SHIMMY_ERR_NOT_FOUND" });
    });
  });

  describe("#sweep()", function () {
    it("should collect a channel after the grace, and not before", async function () {
      const a = test.process("default.a");
      const attached = await a.attached("jobs", "producer", { parameters: LOCK });
      await a.lodgeRing(attached, attached.generation ?? 0);
      test.broker.leave(a);
      test.broker.sweep();
      test.clock.advance(59_000);
      test.broker.sweep();
      // A consumer that comes in time reads what the dead producer left.
      const b = test.process("default.b");
      await b.attached("jobs", "consumer");
      expect(b.last("channelRing")).to.include({ isEnded: true });
      test.broker.leave(b);
      test.broker.sweep();
      test.clock.advance(60_000);
      test.broker.sweep();
      expect(test.broker.table.size).to.equal(0);
      expect(test.native.open.size).to.equal(0);
    });

    it("should keep a channel that was asked for, without what nobody read", async function () {
      const topic = { namespace: "default", name: "jobs" };
      const pod = test.catalog.pods.get("default.a");
      const channel = await test.broker.finder.find({
        topic,
        pod,
        request: LOCK,
        origin: "request",
      });
      const a = test.process("default.a");
      const attached = await a.attached("jobs", "producer");
      await a.lodgeRing(attached, attached.generation ?? 0);
      test.broker.leave(a);
      for (const wait of [0, 60_000, 60_000]) {
        test.clock.advance(wait);
        test.broker.sweep();
      }
      expect(test.native.open.size).to.equal(0);
      expect(test.broker.table.get("default/jobs")).to.equal(channel);
      expect(test.broker.table.usageOf("default.a").channels).to.equal(1);
      await test.process("default.b").attached("jobs", "consumer");
    });
  });
});

/** Removes records only when it is let. */
class SlowRegistry extends MemoryRegistry {
  readonly #gate = Promise.withResolvers<undefined>();

  letRemove(): void {
    this.#gate.resolve(undefined);
  }

  override async remove(topic: Topic): Promise<void> {
    await this.#gate.promise;
    await super.remove(topic);
  }
}
