import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { expect } from "chai";

import type {
  ChannelAttachedMessage,
  ChannelReply,
  ChannelsReply,
  ChannelSummary,
} from "../../agent/api.ts";
import { OwnedFd } from "../../shm-core/lib/control-socket.ts";
import { AgentProcess } from "../helpers/agent-process.ts";
import { ChannelProcess, LOCK, region, type OpenLink } from "../helpers/channel-process.ts";
import { eventually } from "../helpers/eventually.ts";
import { RedisServer } from "../helpers/redis-server.ts";
import { TestSidecar } from "../helpers/test-sidecar.ts";
import { expectDocumented, expectDocumentedError } from "../unit/agent/openapi.ts";

const PODS = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
  - { name: x, namespace: other, address: 127.0.1.3 }
`;

/** Both sides of a link, introduced. */
interface Linked {
  readonly producer: ChannelAttachedMessage;
  readonly consumer: ChannelAttachedMessage;
  readonly atA: OpenLink;
  readonly atB: OpenLink;
  readonly ring: readonly number[];
}

describe("channels", function () {
  this.timeout(20_000);
  let agent: AgentProcess;
  let redis: RedisServer | undefined;
  let toClose: { close(): void }[];

  async function processOf(pod: string): Promise<ChannelProcess> {
    const directory =
      pod === "x" ? join(agent.runtimeDir, "pods/other/x") : agent.podDirectory(pod);
    const connected = await ChannelProcess.connect(directory);
    toClose.push(connected);
    return connected;
  }

  async function link(a: ChannelProcess, b: ChannelProcess, topic = "jobs"): Promise<Linked> {
    const producer = await a.attach(topic, "producer", LOCK);
    const ring = a.lodgeRing(producer, producer.generation ?? 0);
    const consumer = await b.attach(topic, "consumer");
    const { message, inodes } = await b.offered();
    expect(inodes, "other regions than were lodged").to.deep.equal(ring);
    b.lodgeLink(consumer, message);
    const [atA, atB] = await Promise.all([a.linked(), b.linked()]);
    expect(atA).to.include({ generation: producer.generation, number: message.number });
    return { producer, consumer, atA, atB, ring };
  }

  async function expectAlive({ atA, atB }: Pick<Linked, "atA" | "atB">): Promise<void> {
    const [before, after] = [atA.doorbell.rings, atB.doorbell.rings];
    atA.doorbell.ring();
    atB.doorbell.ring();
    await Promise.all([atA.doorbell.rung(before + 1), atB.doorbell.rung(after + 1)]);
  }

  async function describeChannel(topic = "default/jobs"): Promise<ChannelReply> {
    const { status, body } = await agent.get(`/v1/channels/${topic}`);
    expect(status, body).to.equal(200);
    const reply = JSON.parse(body) as ChannelReply;
    expectDocumented("/v1/channels/{namespace}/{name}", reply);
    return reply;
  }

  async function start(redisUrl?: string): Promise<void> {
    agent = new AgentProcess(PODS, redisUrl);
    await agent.start();
  }

  beforeEach(function () {
    toClose = [];
  });

  afterEach(async function () {
    for (const each of toClose) each.close();
    await agent.close();
    await redis?.close();
    redis = undefined;
  });

  describe("between processes", function () {
    beforeEach(async function () {
      await start();
    });

    it("should pass regions on and connect both sides directly", async function () {
      const sidecar = await TestSidecar.hello(agent.podDirectory("a"), "a");
      toClose.push(sidecar);
      const both = await link(await processOf("a"), await processOf("b"));
      await expectAlive(both);
      // The doorbell is theirs alone: the agent's end goes on without it.
      both.atA.doorbell.close();
      await both.atB.doorbell.hungUp();
      // The pod's sidecar stays its sidecar.
      expect(sidecar.end).to.equal(undefined);
    });

    for (const leave of ["dies", "detaches"] as const) {
      it(`should keep what a producer lodged just before it ${leave}`, async function () {
        const [a, b] = [await processOf("a"), await processOf("b")];
        const producer = await a.attach("jobs", "producer", LOCK);
        const ring = a.lodgeRing(producer, producer.generation ?? 0);
        if (leave === "dies") a.close();
        else a.socket.send({ type: "detachChannel", attachment: producer.attachment });
        await b.attach("jobs", "consumer");
        expect((await b.offered()).inodes).to.deep.equal(ring);
      });
    }

    it("should keep what a killed producer left, and let the consumer go on in order", async function () {
      const [b, again] = [await processOf("b"), await processOf("a")];
      const child = spawn(
        process.execPath,
        [
          join(import.meta.dirname, "../fixtures/channel-producer.ts"),
          agent.podDirectory("a"),
          "jobs",
        ],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      toClose.push({ close: () => child.kill("SIGKILL") });
      const lines = linesOf(child);
      const first = (await lines.next()) as { generation: number; inodes: number[] };

      const consumer = await b.attach("jobs", "consumer");
      const offer = await b.offered();
      expect(offer.inodes).to.deep.equal(first.inodes);
      b.lodgeLink(consumer, offer.message);
      const atB = await b.linked();
      await lines.next();
      const standby = await again.attach("jobs", "producer");
      expect(standby.state).to.equal("standby");

      child.kill("SIGKILL");
      await atB.doorbell.hungUp();
      const { message: gone } = await b.socket.next("channelPeerGone");
      expect(gone).to.include({ generation: first.generation, isOver: false });
      const { message: promoted } = await again.socket.next("channelState");
      expect(promoted.state).to.equal("live");
      expect(promoted.generation).to.be.greaterThan(first.generation);
      const second = again.lodgeRing(standby, promoted.generation ?? 0);

      // The next ring comes when the first is read, not before.
      expect((await describeChannel()).data.map(({ generation }) => generation)).to.deep.equal([
        first.generation,
        promoted.generation,
      ]);
      expect(b.socket.received).to.deep.equal([]);
      b.socket.send({
        type: "generationFinished",
        attachment: consumer.attachment,
        generation: first.generation,
      });
      const next = await b.offered();
      expect(next.inodes).to.deep.equal(second);
      expect((await describeChannel()).data).to.have.length(1);
    });

    it("should outlive both sides, one after the other", async function () {
      const [a, b] = [await processOf("a"), await processOf("b")];
      const { atB, ring } = await link(a, b);
      a.close();
      await atB.doorbell.hungUp();
      b.close();
      await eventually("both to have left", async () => {
        return (await describeChannel()).attachments.length === 0;
      });
      const successor = await processOf("b");
      const consumer = await successor.attach("jobs", "consumer");
      const { message, inodes } = await successor.offered();
      expect(message).to.deep.include({
        isEnded: true,
        regions: ["data", "producer", "consumer"],
        previous: atB.number,
      });
      expect(inodes.slice(0, 2)).to.deep.equal(ring);
      expect(consumer.state).to.equal("live");
    });

    it("should leave no descriptor behind", async function () {
      const before = agent.openFds;
      for (let round = 0; round < 5; round++) {
        const [a, b] = [await processOf("a"), await processOf("b")];
        await link(a, b);
        a.close();
        b.close();
        await eventually("both to have left", async () => {
          return (await describeChannel()).attachments.length === 0;
        });
        await agent.ask({ path: "/v1/channels/default/jobs", method: "DELETE" });
      }
      await eventually("descriptors to be closed", () => agent.openFds <= before);
    });
  });

  describe("hostile processes", function () {
    beforeEach(async function () {
      await start();
    });

    it("should not take a topic of another namespace", async function () {
      const x = await processOf("x");
      expect(await x.ask("default/jobs", "producer", LOCK)).to.include({
        code: "SHIMMY_ERR_TOPIC_DENIED",
        reason: "other_namespace",
      });
      const a = await processOf("a");
      await a.attach("jobs", "producer", LOCK);
      expect(await x.ask("default/jobs", "consumer")).to.include({ reason: "other_namespace" });
      expect((await agent.get("/v1/channels", "a")).body).to.include("default/jobs");
      const { status } = await agent.get("/v1/channels/default/jobs", "../other/x");
      expect(status).to.equal(404);
    });

    const files: [what: string, open: () => OwnedFd][] = [
      ["a file", () => new OwnedFd(openSync("/etc/passwd", "r"))],
      ["a device", () => new OwnedFd(openSync("/dev/zero", "r"))],
      ["a region of another size", () => region(1024 ** 2)],
    ];
    for (const [what, open] of files) {
      it(`should not lodge ${what}`, async function () {
        const a = await processOf("a");
        const { attachment, generation = 0 } = await a.attach("jobs", "producer", LOCK);
        const fd = open();
        const fds = [fd.number, fd.number];
        a.socket.send(
          { type: "lodgeRegions", attachment, generation, regions: ["data", "producer"] },
          fds,
        );
        fd.close();
        const { message } = await a.socket.next("channelDetached");
        expect(message).to.include({ attachment, code: "SHIMMY_ERR_BAD_REGION" });
        // The connection goes on.
        await a.attach("jobs", "producer");
      });
    }

    it("should be cut off for messages that are not theirs", async function () {
      const a = await processOf("a");
      a.socket.send({ type: "watch", services: [] });
      const { message } = await a.socket.next("error");
      expect(message.code).to.equal("SHIMMY_ERR_PROTOCOL");
      const sidecar = await TestSidecar.hello(agent.podDirectory("a"), "a");
      toClose.push(sidecar);
      sidecar.send({ type: "detachChannel", attachment: "any" });
      expect((await sidecar.next("error")).message.code).to.equal("SHIMMY_ERR_PROTOCOL");
    });

    it("should leave room for the sidecar", async function () {
      for (let count = 0; count < 24; count++) await processOf("a");
      const one = await TestSidecar.connect(agent.podDirectory("a"));
      toClose.push(one);
      one.read();
      one.send({ type: "channelsHello", version: 3, pid: process.pid });
      expect((await one.next("error")).message.code).to.equal("SHIMMY_ERR_LIMIT");
      toClose.push(await TestSidecar.hello(agent.podDirectory("a"), "a"));
    });

    it("should be told the version that is needed", async function () {
      const one = await TestSidecar.connect(agent.podDirectory("a"));
      toClose.push(one);
      one.read();
      one.send({ type: "channelsHello", version: 2, pid: process.pid });
      expect((await one.next("error")).message.code).to.equal("SHIMMY_ERR_VERSION_MISMATCH");
    });
  });

  describe("restart of the agent", function () {
    beforeEach(async function () {
      await start();
    });

    it("should leave links alone on SIGKILL, and know them again", async function () {
      const [a, b] = [await processOf("a"), await processOf("b")];
      const both = await link(a, b);
      await agent.stop("SIGKILL");
      await expectAlive(both);
      await agent.start();

      // Who comes first stands by for who was there.
      const newcomer = await processOf("b");
      const [a2, b2] = [await processOf("a"), await processOf("b")];
      const producer = await a2.reattach(both.producer, "producer", [both.atA]);
      if (producer.type !== "channelAttached") throw new Error(producer.message);
      expect(producer).to.include({ state: "live", generation: both.producer.generation });
      expect(producer.channel).to.deep.equal(both.producer.channel);
      a2.lodgeRing(producer, producer.generation ?? 0);
      const early = await newcomer.attach("jobs", "consumer");
      const consumer = await b2.reattach(both.consumer, "consumer", [both.atB]);
      if (consumer.type !== "channelAttached") throw new Error(consumer.message);
      b2.lodgeLink(consumer, both.atB);
      expect(consumer.state).to.equal("live");
      await eventually("the newcomer to stand by", async () => {
        const { attachments, metadata } = await describeChannel();
        const states = attachments.map(({ role, state }) => `${role} ${state}`).sort();
        return (
          states.join() === "consumer live,consumer standby,producer live" && metadata.length === 2
        );
      });
      expect(newcomer.socket.received.map(({ message }) => message.type)).to.not.include(
        "channelRing",
      );
      expect(a2.socket.received, "introduced again").to.deep.equal([]);
      await expectAlive(both);

      b2.close();
      const { message } = await newcomer.offered();
      expect(message).to.include({ previous: both.atB.number });
      expect(message.number).to.be.greaterThan(both.atB.number);
      newcomer.lodgeLink(early, message);
      expect(await a2.linked()).to.include({ number: message.number });
    });

    it("should give the ring to a newcomer when the writer's doorbell has hung up", async function () {
      const [a, b] = [await processOf("a"), await processOf("b")];
      const both = await link(a, b);
      await agent.stop("SIGKILL");
      await agent.start();
      const [a2, newcomer] = [await processOf("a"), await processOf("b")];
      const producer = await a2.reattach(both.producer, "producer", [both.atA]);
      if (producer.type !== "channelAttached") throw new Error(producer.message);
      a2.lodgeRing(producer, producer.generation ?? 0);
      await newcomer.attach("jobs", "consumer");
      b.close();
      await both.atA.doorbell.hungUp();
      a2.socket.send({
        type: "linkGone",
        attachment: producer.attachment,
        generation: both.atA.generation,
        number: both.atA.number,
      });
      expect((await newcomer.offered()).message.generation).to.equal(producer.generation);
    });

    it("should not take a forged attachment for its own word", async function () {
      const a = await processOf("a");
      const producer = await a.attach("jobs", "producer", LOCK);
      await agent.stop("SIGKILL");
      await agent.start();
      const again = await processOf("a");
      const forged = { ...producer, channel: { ...producer.channel, blocks: 65_536 } };
      expect(await again.reattach(forged, "producer", [])).to.include({
        type: "channelRefused",
        code: "SHIMMY_ERR_NOT_FOUND",
      });
      expect(await again.reattach(producer, "producer", [])).to.include({ state: "live" });
      // Now that it is known, it is what it was.
      expect(await (await processOf("b")).reattach(forged, "producer", [])).to.include({
        code: "SHIMMY_ERR_CHANNEL_MISMATCH",
      });
    });
  });

  describe("REST", function () {
    beforeEach(async function () {
      await start();
    });

    const create = (body: unknown, pod?: string): Promise<{ status?: number; body: string }> =>
      agent.ask({ path: "/v1/channels", method: "POST", body }, pod) as Promise<{
        status?: number;
        body: string;
      }>;

    it("should make, list, describe and delete a channel", async function () {
      const made = await create({ topic: "jobs", ...LOCK }, "a");
      expect(made.status, made.body).to.equal(201);
      const summary = JSON.parse(made.body) as ChannelSummary;
      expectDocumented("/v1/channels", summary, { method: "post", status: 201 });
      expect(summary).to.include({ topic: "default/jobs", origin: "request", ...LOCK });

      const { ring } = await link(await processOf("a"), await processOf("b"));
      const { body: list } = await agent.get("/v1/channels", "b");
      expectDocumented("/v1/channels", JSON.parse(list));
      expect((JSON.parse(list) as ChannelsReply).channels).to.have.length(1);
      const shown = await describeChannel();
      expect(shown.data).to.have.length(1);
      expect(shown.data[0]).to.deep.include({
        id: String(ring[0]),
        bytes: 20_480,
        writer: "default.a",
        attachedBy: ["default.a", "default.b"],
      });
      expect(shown.metadata.map(({ kind }) => kind)).to.deep.equal(["producer", "consumer"]);
      expect(shown.waitWords.map(({ word }) => word)).to.deep.equal(["produced", "consumed"]);
      expect(shown.attachments.map(({ pod, role }) => `${pod} ${role}`)).to.deep.equal([
        "default.a producer",
        "default.b consumer",
      ]);
    });

    it("should refuse to delete what is attached, and by force tell who has it", async function () {
      const a = await processOf("a");
      const { attachment } = await a.attach("jobs", "producer", LOCK);
      const path = "/v1/channels/default/jobs";
      const refused = await agent.ask({ path, method: "DELETE" }, "b");
      expect(refused.status).to.equal(409);
      expect(refused.body).to.include("default/a (producer)");
      expectDocumentedError(JSON.parse(refused.body));
      const deleted = await agent.ask({ path: `${path}?force=true`, method: "DELETE" }, "b");
      expect(deleted.status).to.equal(200);
      expectDocumented("/v1/channels/{namespace}/{name}", JSON.parse(deleted.body), {
        method: "delete",
      });
      expect((await a.socket.next("channelDetached")).message).to.include({ attachment });
      expect((await agent.get(path)).status).to.equal(404);
    });

    const refused: [what: string, body: unknown, pod: string | undefined, status: number][] = [
      ["no topic", { kind: "lock" }, "a", 400],
      ["no object", [1], "a", 400],
      ["blocks out of bounds", { topic: "t", kind: "lock", blocks: 1 }, "a", 400],
      [
        "more than 1 GiB",
        { topic: "t", kind: "lock", blocks: 65_536, blockBytes: 65_536 },
        "a",
        400,
      ],
      [
        "a time to live of a lock-based channel",
        { topic: "t", kind: "lock", timeToLiveMs: 1 },
        "a",
        400,
      ],
      ["an unknown parameter", { topic: "t", kind: "lock", size: 1 }, "a", 400],
      ["a path for a topic", { topic: "../t", kind: "lock" }, "a", 400],
      ["a topic of another namespace", { topic: "other/t", kind: "lock" }, "a", 403],
      ["a name alone on the node's socket", { topic: "t", kind: "lock" }, undefined, 400],
    ];
    for (const [what, body, pod, status] of refused) {
      it(`should refuse ${what}`, async function () {
        const answer = await create(body, pod);
        expect(answer.status, answer.body).to.equal(status);
        expectDocumentedError(JSON.parse(answer.body));
      });
    }

    it("should not make a channel twice", async function () {
      await create({ topic: "jobs", kind: "lock" }, "a");
      expect((await create({ topic: "jobs", kind: "lock" }, "b")).status).to.equal(409);
    });

    it("should change nothing at other paths, or by other bodies", async function () {
      const post = (path: string): Promise<{ status: number | undefined }> =>
        agent.ask({ path, method: "POST", body: {} }, "a");
      expect((await post("/v1/health")).status).to.equal(405);
      const large = await create({ topic: "t", kind: "lock", text: "x".repeat(5000) }, "a");
      expect(large.status).to.equal(413);
    });
  });

  describe("with Redis", function () {
    beforeEach(async function () {
      redis = await RedisServer.start();
      await start(redis.url);
    });

    const KEY = "shimmy:channel:default/jobs";

    async function recorded(): Promise<string> {
      return (await redis?.text("GET", KEY)) ?? "";
    }

    it("should keep channels on record, with what the node has of them", async function () {
      const { ring, producer } = await link(await processOf("a"), await processOf("b"));
      expect(JSON.parse(await recorded())).to.deep.include({
        topic: "default/jobs",
        id: producer.channel.id,
      });
      await eventually("the regions to be on record", async () => {
        const [key = ""] = (await redis?.command("KEYS", "shimmy:regions:*")) as string[];
        const text = (await redis?.text("GET", key)) ?? "";
        return text.includes(`"id":"${ring[0] ?? ""}"`) && text.includes('"word":"consumed"');
      });
    });

    it("should go on without it, and say so of what needs it", async function () {
      const [a, b] = [await processOf("a"), await processOf("b")];
      const both = await link(a, b);
      await redis?.kill();
      await expectAlive(both);
      expect((await (await processOf("b")).attach("jobs", "consumer")).state).to.equal("standby");
      expect(await a.ask("more", "producer", LOCK)).to.include({
        code: "SHIMMY_ERR_REGISTRY_UNAVAILABLE",
      });
      const { body } = await agent.get("/v1/health");
      expect(body).to.include('"registry":{"kind":"redis","problem":');
      // It was wiped: the next change puts the channel on record again.
      await redis?.run();
      await eventually("the record to be back", async () => {
        return (await recorded()).includes(both.producer.channel.id);
      });
      await a.attach("more", "producer", LOCK);
    });

    it("should answer in time when it is stopped", async function () {
      const both = await link(await processOf("a"), await processOf("b"));
      redis?.signal("SIGSTOP");
      const begun = performance.now();
      const [unknown] = await Promise.all([
        (await processOf("a")).ask("more", "producer", LOCK),
        expectAlive(both),
      ]);
      expect(unknown).to.include({ code: "SHIMMY_ERR_REGISTRY_UNAVAILABLE" });
      expect(performance.now() - begun).to.be.lessThan(3000);
      redis?.signal("SIGCONT");
    });

    it("should not believe a record that an enemy wrote", async function () {
      const both = await link(await processOf("a"), await processOf("b"));
      const record = JSON.parse(await recorded()) as { parameters: object };
      const parameters = { ...record.parameters, blocks: 65_536 };
      await redis?.command("SET", KEY, JSON.stringify({ ...record, id: "7", parameters }));
      await redis?.command("SET", "shimmy:channel:default/more", "{}");
      await expectAlive(both);
      const third = await processOf("a");
      expect((await third.attach("jobs", "producer")).channel).to.deep.equal(both.producer.channel);
      expect(await third.ask("more", "producer", LOCK)).to.include({
        code: "SHIMMY_ERR_REGISTRY_RECORD",
      });

      // Nor after a restart, from who was there.
      await redis?.command("SET", KEY, JSON.stringify({ ...record, id: "7", parameters }));
      await agent.stop("SIGKILL");
      await agent.start();
      const again = await (await processOf("a")).reattach(both.producer, "producer", [both.atA]);
      expect(again).to.deep.include({ channel: both.producer.channel, state: "live" });
      await eventually("the record to be right again", async () => {
        return (await recorded()).includes(both.producer.channel.id);
      });
    });

    it("should find a channel again after a restart that nobody had attached", async function () {
      await agent.ask(
        { path: "/v1/channels", method: "POST", body: { topic: "jobs", ...LOCK } },
        "a",
      );
      const { channel } = await (await processOf("a")).attach("jobs", "producer");
      await agent.stop("SIGKILL");
      await agent.start();
      expect((await (await processOf("b")).attach("jobs", "consumer")).channel).to.deep.equal(
        channel,
      );
    });
  });
});

/** Lines of JSON that a process writes, one at a time. */
function linesOf(child: ChildProcess): { next(): Promise<unknown> } {
  if (child.stdout === null) throw new Error("no output");
  const lines = createInterface({ input: child.stdout });
  const seen: string[] = [];
  lines.on("line", (line) => seen.push(line));
  return {
    next: async () => {
      while (seen.length === 0) await once(lines, "line");
      return JSON.parse(seen.shift() ?? "") as unknown;
    },
  };
}
