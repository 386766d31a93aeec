import { expect } from "chai";

import type { ChannelAttachedMessage, ChannelLink, ChannelRole } from "../../../../agent/api.ts";
import { ChannelTest, LOCK, settle, type FakeProcess, type Offer } from "./harness.ts";

/** A claim as a process shows it after a restart of its agent. */
interface Shown {
  readonly attached: ChannelAttachedMessage;
  readonly role: ChannelRole;
  readonly links: readonly ChannelLink[];
}

describe("reattachChannel", function () {
  let test: ChannelTest;
  let producer: Shown;
  let consumer: Shown;
  let offer: Offer;
  let producerProcess: FakeProcess;

  async function show(process: FakeProcess, shown: Shown, rest: object = {}): Promise<string> {
    const { attached, role, links } = shown;
    const { attachment, channel, generation } = attached;
    const count = process.sent.length;
    await process.say({
      type: "reattachChannel",
      request: 1,
      attachment,
      role,
      start: "oldest",
      channel,
      ...(generation === undefined ? {} : { generation }),
      links,
      ...rest,
    });
    const answer = process.sent[count]?.message;
    if (answer?.type === "channelAttached") return answer.state;
    return answer?.type === "channelRefused" ? answer.code : "no answer";
  }

  /** Another agent with the same key, which knows nothing. */
  function restart(): void {
    test.broker.stop();
    test = new ChannelTest();
  }

  beforeEach(async function () {
    test = new ChannelTest();
    const [a, b] = [test.process("default.a", 1), test.process("default.b", 2)];
    producerProcess = a;
    const first = await a.attached("jobs", "producer", { parameters: LOCK });
    await a.lodgeRing(first, first.generation ?? 0);
    const second = await b.attached("jobs", "consumer");
    offer = await b.lodgeLink(second);
    const links = [{ generation: offer.generation, number: offer.number }];
    producer = { attached: first, role: "producer", links };
    consumer = { attached: second, role: "consumer", links };
  });

  afterEach(function () {
    test.broker.stop();
    expect([...test.native.open], "descriptors left open").to.deep.equal([]);
  });

  for (const order of ["writer first", "reader first"]) {
    it(`should restore a link that both sides show, ${order}`, async function () {
      restart();
      const [a, b] = [test.process("default.a"), test.process("default.b")];
      const steps = [
        (): Promise<string> => show(a, producer),
        (): Promise<string> => show(b, consumer),
      ];
      if (order === "reader first") steps.reverse();
      for (const step of steps) expect(await step()).to.equal("live");
      const attached = a.last("channelAttached");
      if (attached === undefined) throw new Error("not attached");
      await a.lodgeRing(attached, attached.generation ?? 0);
      expect([...a.all("channelPeer"), ...b.all("channelPeer")]).to.deep.equal([]);
      expect([...a.all("channelPeerGone"), ...b.all("channelPeerGone")]).to.deep.equal([]);
      expect(b.all("channelRing")).to.deep.equal([]);
      const [ring] = test.broker.table.get("default/jobs")?.rings ?? [];
      expect(ring?.links.get(offer.number)).to.include({ state: "joined" });
    });
  }

  it("should tell a reader whose writer is there without the link that it is over", async function () {
    restart();
    const [a, b] = [test.process("default.a"), test.process("default.b")];
    await show(a, { ...producer, links: [] });
    await show(b, consumer);
    expect(b.last("channelPeerGone")).to.include({ number: offer.number, isOver: true });
  });

  it("should tell the same to a reader that came before", async function () {
    restart();
    const [a, b] = [test.process("default.a"), test.process("default.b")];
    await show(b, consumer);
    await show(a, { ...producer, links: [] });
    expect(b.last("channelPeerGone")).to.include({ number: offer.number, isOver: true });
  });

  it("should not give a ring to two, and keep a reader of one that nobody writes", async function () {
    restart();
    const [b, thief] = [test.process("default.b"), test.process("default.c")];
    expect(await show(b, consumer)).to.equal("live");
    const c: Shown = { ...producer, attached: { ...producer.attached } };
    expect(await show(test.process("default.a", 5), producer)).to.equal("live");
    // Not its attachment, and not its ring.
    expect(await show(thief, c)).to.equal("SHIMMY_ERR_CHANNEL_MISMATCH");
    expect(await show(thief, consumer)).to.equal("standby");
    expect(thief.last("channelPeerGone")).to.include({ number: offer.number, isOver: true });
  });

  it("should give later rings and links larger numbers than any shown", async function () {
    restart();
    const [a, b] = [test.process("default.a"), test.process("default.b")];
    await show(a, producer);
    await show(b, consumer);
    test.broker.leave(a);
    test.broker.leave(b);
    const next = await test.process("default.a").attached("jobs", "producer");
    expect(next.generation).to.be.greaterThan(producer.attached.generation ?? 0);
  });

  it("should refuse generations that never were", async function () {
    restart();
    const a = test.process("default.a");
    const forged = { generation: 0xffff_ffff };
    expect(await show(a, producer, forged)).to.equal("SHIMMY_ERR_PROTOCOL");
    expect(
      await show(a, { ...producer, links: [{ generation: 1, number: 0xffff_fff0 }] }),
    ).to.equal("SHIMMY_ERR_PROTOCOL");
  });

  it("should not let a reader use up the numbers there are (I3)", async function () {
    const enemy = test.process("default.c");
    const far = 1_000_000;
    for (let turn = 1; turn <= 4; turn++) {
      const mine = await enemy.attached("jobs", "consumer");
      const claimed = offer.number + turn * (far - 100);
      const links = [{ generation: claimed, number: claimed }];
      await show(enemy, { attached: mine, role: "consumer", links });
      const again = enemy.last("channelAttached") ?? mine;
      for (const { attachment } of [again, mine]) {
        await enemy.say({ type: "detachChannel", attachment });
      }
    }
    const late = test.process("default.a");
    await late.attached("jobs", "producer");
    await test.process("default.b", 3).attached("jobs", "consumer");
    test.broker.leave(producerProcess);
    await settle();
    const given = late.last("channelState")?.generation ?? 0;
    expect(given).to.be.greaterThan(offer.generation);
    expect(given).to.be.lessThan(offer.generation + far + 100);
  });

  it("should not give a live consumer's place to who shows a ring that never was (I3)", async function () {
    const first = test.process("default.b");
    const attached = await first.attached("fresh", "consumer", { parameters: LOCK });
    const enemy = test.process("default.c");
    const links = [{ generation: 1, number: 1 }];
    expect(await show(enemy, { attached, role: "consumer", links })).to.equal("standby");
    expect(enemy.last("channelPeerGone")).to.include({ generation: 1, number: 1, isOver: true });
    expect(first.all("channelState")).to.deep.equal([]);
    expect(test.broker.table.get("default/fresh")?.rings).to.deep.equal([]);
  });

  it("should believe in unknown rings for a minute only (I3)", async function () {
    restart();
    const early = test.process("default.b");
    expect(await show(early, consumer)).to.equal("live");
    expect(test.broker.table.get("default/jobs")?.rings).to.have.lengthOf(1);
    restart();
    const first = test.process("default.b");
    // Known by what somebody shows of it, and not made here.
    await show(first, { ...consumer, links: [] });
    test.clock.advance(61_000);
    const late = test.process("default.c");
    await show(late, consumer);
    expect(test.broker.table.get("default/jobs")?.rings).to.deep.equal([]);
  });

  it("should give the ring back to a process that only lost its connection", async function () {
    const [a, b] = [test.process("default.a", 1), test.process("default.c")];
    // The end of the connection before was not seen yet.
    expect(await show(a, producer)).to.equal("live");
    const standby = await b.attached("jobs", "producer");
    expect(standby.state).to.equal("standby");
  });

  it("should ask policy again", async function () {
    restart();
    const outsider = test.process("other.x");
    expect(await show(outsider, producer)).to.equal("SHIMMY_ERR_TOPIC_DENIED");
  });

  it("should refuse a channel that was made anew meanwhile", async function () {
    restart();
    const a = test.process("default.a");
    await a.attached("jobs", "producer", { parameters: LOCK });
    expect(await show(a, producer)).to.equal("SHIMMY_ERR_CHANNEL_MISMATCH");
  });
});
