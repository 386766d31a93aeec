import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";

import { expect } from "chai";

import {
  ShimmyClient,
  type Consumer,
  type Loan,
  type Producer,
  type Publisher,
  type Subscriber,
} from "../../sdk/typescript/index.ts";
import { AgentProcess } from "../helpers/agent-process.ts";
import { eventually } from "../helpers/eventually.ts";
import { runProgram } from "../helpers/run-program.ts";

const PODS = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
  - { name: x, namespace: other, address: 127.0.1.3 }
`;
const WORKER = join(import.meta.dirname, "../fixtures/channel-worker.ts");
const EXIT = join(import.meta.dirname, "../fixtures/channel-exit.ts");
const SIZES = [0, 1, 63, 64, 65, 4096, 10_000, 16_384, 16_385, 65_000, 262_144];
const KINDS = ["lock", "lockfree"] as const;

type Kind = (typeof KINDS)[number];

interface Pair {
  readonly writer: Producer | Publisher;
  readonly reader: Consumer | Subscriber;
}

/** Bytes that tell where they are. */
function content(bytes: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i % 251) + seed));
}

async function codeOf(action: () => unknown): Promise<unknown> {
  try {
    await action();
  } catch (err) {
    return (err as { code?: unknown }).code;
  }
  return "no error";
}

describe("TypeScript SDK", function () {
  this.timeout(10_000);
  let agent: AgentProcess;
  let a: ShimmyClient;
  let b: ShimmyClient;

  function socketOf(pod: string): string {
    return join(agent.podDirectory(pod), "fd.sock");
  }

  async function pair(kind: Kind, parameters: object = {}, topic = "topic"): Promise<Pair> {
    const isLock = kind === "lock";
    const writer = await (isLock
      ? a.producer(topic, { parameters })
      : a.publisher(topic, { parameters }));
    const reader = await (isLock ? b.consumer(topic) : b.subscriber(topic, { start: "oldest" }));
    await eventually("both to have met", () => reader.info().peers + writer.info().peers === 2);
    return { writer, reader };
  }

  beforeEach(async function () {
    agent = new AgentProcess(PODS);
    await agent.start();
    a = await ShimmyClient.connect({ socket: socketOf("a") });
    b = await ShimmyClient.connect({ socket: socketOf("b") });
  });

  afterEach(async function () {
    await a.close();
    await b.close();
    await agent.close();
  });

  for (const kind of KINDS) {
    describe(`${kind} channels`, function () {
      it("should carry messages of every size, by copy and in place", async function () {
        const { writer, reader } = await pair(kind, { blocks: 2048 });
        for (const [index, bytes] of SIZES.entries()) {
          const sent = content(bytes, index);
          await writer.publish(sent);
          const taken = await reader.take();
          expect(taken?.data.equals(sent), `take of ${bytes}`).to.equal(true);
          expect(taken).to.include({ missed: 0 });

          const room = await writer.reserve(bytes);
          room.bytes.set(sent);
          room.commit();
          const loan = await reader.loan();
          expect(loan?.data.equals(sent), `loan of ${bytes}`).to.equal(true);
          expect(loan?.sequence).to.be.greaterThan(taken?.sequence ?? Infinity);
          loan?.release();

          writer.publishSync(sent, { timeoutMs: 1000 });
          const into = Buffer.alloc(bytes);
          const { bytes: length } = (await reader.takeInto(into)) ?? { bytes: -1 };
          expect(length).to.equal(bytes);
          expect(into.equals(sent), `takeInto of ${bytes}`).to.equal(true);
        }
        expect(writer.counters()).to.include({ messages: 3 * SIZES.length, droppedPeers: 0 });
        expect(reader.counters()).to.include({ messages: 3 * SIZES.length, missed: 0 });
      });

      it("should keep the order of calls that wait", async function () {
        const { writer, reader } = await pair(kind);
        const taken = Array.from({ length: 20 }, () => reader.take());
        await delay(10);
        for (let i = 0; i < 20; i++) await writer.publish(Buffer.of(i));
        const order = (await Promise.all(taken)).map((message) => message?.data[0]);
        expect(order).to.deep.equal([...order.keys()]);
      });

      it("should end loops behind the last message", async function () {
        const { writer, reader } = await pair(kind);
        const seen: number[] = [];
        const all = (async () => {
          for await (const { data } of reader) seen.push(data[0] ?? -1);
        })();
        for (let i = 0; i < 10; i++) await writer.publish(Buffer.of(i));
        writer.end();
        writer.end();
        await all;
        expect(seen)
          .to.deep.equal([...seen.keys()])
          .and.have.length(10);
        expect(reader.hasEnded).to.equal(true);
        expect(await codeOf(() => writer.publish(Buffer.of(1)))).to.equal("SHIMMY_ERR_CLOSED");
      });

      it("should wait no longer than it is told to", async function () {
        const { writer, reader } = await pair(kind);
        expect(reader.tryTake()).to.equal(undefined);
        expect(reader.tryLoan()).to.equal(undefined);
        expect(reader.tryTakeInto(Buffer.alloc(1))).to.equal(undefined);
        for (const wait of [
          () => reader.take({ timeoutMs: 30 }),
          () => reader.loan({ timeoutMs: 30 }),
          () => reader.takeSync({ timeoutMs: 30 }),
          () => reader.loanSync({ timeoutMs: 0 }),
        ]) {
          expect(await codeOf(wait)).to.equal("SHIMMY_ERR_TIMEOUT");
        }
        expect(await codeOf(() => reader.take({ timeoutMs: -1 }))).to.equal(
          "SHIMMY_ERR_INVALID_OPTION",
        );
        // What was given up takes nothing from who comes next.
        await writer.publish(Buffer.from("still there"));
        expect((await reader.take())?.data.toString()).to.equal("still there");
      });

      it("should be ended by a signal, also while it is another call's turn", async function () {
        const { writer, reader } = await pair(kind);
        const first = reader.take();
        const abort = new AbortController();
        const second = reader.take({ signal: abort.signal });
        const reason = new Error("enough");
        abort.abort(reason);
        expect(await second.catch((err: unknown) => err)).to.equal(reason);
        expect(await reader.take({ signal: abort.signal }).catch((err: unknown) => err)).to.equal(
          reason,
        );
        await writer.publish(Buffer.from("for the first"));
        expect((await first)?.data.toString()).to.equal("for the first");
      });

      it("should end calls that wait when it is closed", async function () {
        const { reader } = await pair(kind);
        const waiting = [reader.take(), reader.loan()].map((call) => codeOf(() => call));
        await delay(10);
        reader.close();
        reader.close();
        expect(await Promise.all(waiting)).to.deep.equal([
          "SHIMMY_ERR_CLOSED",
          "SHIMMY_ERR_CLOSED",
        ]);
        for (const use of [() => reader.tryTake(), () => reader.info(), () => reader.counters()]) {
          expect(await codeOf(use)).to.equal("SHIMMY_ERR_CLOSED");
        }
      });

      it("should refuse what can never be sent", async function () {
        const { writer } = await pair(kind, { blocks: 4, blockBytes: 4096 });
        const tooBig = Buffer.alloc(writer.info().maxBytes + 1);
        for (const send of [
          () => writer.publish(tooBig),
          () => writer.tryPublish(tooBig),
          () => writer.reserve(tooBig.length),
        ]) {
          expect(await codeOf(send)).to.equal("SHIMMY_ERR_MESSAGE_TOO_BIG");
        }
      });

      it("should leave a message that does not fit its buffer", async function () {
        const { writer, reader } = await pair(kind);
        await writer.publish(Buffer.from("longer than that"));
        expect(await codeOf(() => reader.takeInto(Buffer.alloc(4)))).to.equal(
          "SHIMMY_ERR_MESSAGE_TOO_BIG",
        );
        expect(reader.tryTake()?.data.toString()).to.equal("longer than that");
      });

      for (const bytes of [100, 40_000]) {
        it(`should refuse misuse of loans and rooms of ${bytes} bytes`, async function () {
          const { writer, reader } = await pair(kind, { blocks: 512, maxLoans: 2 });
          const room = writer.reserveSync(bytes);
          const written = room.bytes.fill(7);
          const commit = (length?: number): void => {
            room.commit(length);
          };
          expect(
            await codeOf(() => {
              commit(bytes + 1);
            }),
          ).to.equal("SHIMMY_ERR_INVALID_OPTION");
          room.commit();
          expect(
            await codeOf(() => {
              commit();
            }),
          ).to.equal("SHIMMY_ERR_CLOSED");
          expect(await codeOf(() => room.bytes)).to.equal("SHIMMY_ERR_CLOSED");
          room.cancel();
          expect(written.length).to.equal(bytes > 16_384 ? 0 : bytes);

          const loan = reader.tryLoan();
          const view = loan?.data;
          expect(view?.every((byte) => byte === 7)).to.equal(true);
          loan?.release();
          expect(await codeOf(() => loan?.release())).to.equal("SHIMMY_ERR_CLOSED");
          expect(await codeOf(() => loan?.data)).to.equal("SHIMMY_ERR_CLOSED");
          loan?.[Symbol.dispose]();
          // A view of the channel's memory is empty, that of a copy is its holder's.
          expect(view?.length).to.equal(bytes > 16_384 ? 0 : bytes);
        });
      }

      it("should not show anybody what is written into a loan", async function () {
        const { writer, reader } = await pair(kind, { blocks: 512 });
        for (let i = 0; i < 6; i++) {
          const sent = content(60_000, i);
          writer.publishSync(sent);
          using loan = reader.loanSync();
          expect(loan?.data.equals(sent)).to.equal(true);
          loan?.data.fill(255);
        }
      });

      it("should say that a loan's memory was transferred away", async function () {
        const { writer, reader } = await pair(kind, { blocks: 512 });
        writer.publishSync(content(40_000, 1));
        const loan = reader.loanSync();
        const taken = (loan?.data.buffer as ArrayBuffer).transfer();
        expect(await codeOf(() => loan?.release())).to.equal("SHIMMY_ERR_INVALID_OPTION");
        reader.close();
        expect(Buffer.from(taken).equals(content(40_000, 1))).to.equal(true);
      });

      it("should make loans void when the endpoint is closed", async function () {
        const { writer, reader } = await pair(kind, { blocks: 512 });
        writer.publishSync(content(40_000, 1));
        const room = writer.reserveSync(40_000);
        const loan = reader.loanSync();
        const views = [room.bytes, loan?.data];
        reader.close();
        writer.close();
        expect(views.map((view) => view?.length)).to.deep.equal([0, 0]);
        expect(await codeOf(() => loan?.release())).to.equal("SHIMMY_ERR_CLOSED");
        expect(
          await codeOf(() => {
            room.commit();
          }),
        ).to.equal("SHIMMY_ERR_CLOSED");
        loan?.[Symbol.dispose]();
        room[Symbol.dispose]();
      });

      it("should keep what is lent when the channel is deleted", async function () {
        const { writer, reader } = await pair(kind, { blocks: 512 });
        writer.publishSync(content(40_000, 1));
        const room = writer.reserveSync(40_000);
        const loan = reader.loanSync();
        const path = "/v1/channels/default/topic?force=true";
        await agent.ask({ path, method: "DELETE" });
        await eventually("both to be told", () => {
          return [writer, reader].every((endpoint) => endpoint.info().state === "over");
        });
        room.bytes.fill(9);
        expect(loan?.data.equals(content(40_000, 1))).to.equal(true);
        loan?.release();
        expect(await codeOf(() => reader.take())).to.equal("SHIMMY_ERR_CHANNEL_IN_USE");
      });
    });
  }

  describe("lock-based channels", function () {
    it("should push back, and say when everything was consumed", async function () {
      const { writer, reader } = await pair("lock", { blocks: 4, blockBytes: 4096 });
      const producer = writer as Producer;
      const { maxBytes } = producer.info();
      for (let left = maxBytes; left > 0; left -= 4096) await producer.publish(Buffer.alloc(4096));
      expect(producer.tryPublish(Buffer.of(1))).to.equal(false);
      expect(producer.tryReserve(1)).to.equal(undefined);
      expect(await codeOf(() => producer.publish(Buffer.of(1), { timeoutMs: 20 }))).to.equal(
        "SHIMMY_ERR_TIMEOUT",
      );
      expect(await codeOf(() => producer.drain({ timeoutMs: 20 }))).to.equal("SHIMMY_ERR_TIMEOUT");
      const waits = producer.publish(Buffer.from("last"));
      const drained = producer.drain();
      for (let left = maxBytes; left > 0; left -= 4096) await reader.take();
      await waits;
      let isDrained = false;
      void drained.then(() => (isDrained = true));
      await delay(20);
      expect(isDrained).to.equal(false);
      expect((await reader.take())?.data.toString()).to.equal("last");
      await drained;
      // And behind the end.
      await producer.publish(Buffer.from("more"));
      producer.end();
      expect(await codeOf(() => producer.drain({ timeoutMs: 20 }))).to.equal("SHIMMY_ERR_TIMEOUT");
      const done = producer.drain();
      await reader.take();
      await done;
    });

    it("should commit rooms in their order, within the budget", async function () {
      const { writer, reader } = await pair("lock", { maxLoans: 2 });
      const [first, second] = [writer.reserveSync(10), writer.reserveSync(20_000)];
      expect(await codeOf(() => writer.reserve(1))).to.equal("SHIMMY_ERR_LIMIT");
      expect(await codeOf(() => writer.publish(Buffer.of(1)))).to.equal(
        "SHIMMY_ERR_INVALID_OPTION",
      );
      expect(
        await codeOf(() => {
          second.commit();
        }),
      ).to.equal("SHIMMY_ERR_INVALID_OPTION");
      first.bytes.write("first");
      first.commit(5);
      second.bytes.write("second");
      second.commit(6);
      expect(reader.tryTake()?.data.toString()).to.equal("first");
      expect(reader.tryTake()?.data.toString()).to.equal("second");
    });

    it("should copy beyond the budget of loans, and release in any order", async function () {
      const { writer, reader } = await pair("lock", { maxLoans: 3 });
      for (let i = 0; i < 5; i++) await writer.publish(content(20_000, i));
      const loans = Array.from({ length: 3 }, () => reader.tryLoan()) as Loan[];
      expect(await codeOf(() => reader.loan())).to.equal("SHIMMY_ERR_LIMIT");
      expect(reader.tryTake()?.data.equals(content(20_000, 3))).to.equal(true);
      loans[2]?.release();
      expect(loans[0]?.data.equals(content(20_000, 0))).to.equal(true);
      loans[0]?.release();
      expect(loans[1]?.data.equals(content(20_000, 1))).to.equal(true);
      loans[1]?.release();
      using last = reader.tryLoan();
      expect(last?.data.equals(content(20_000, 4))).to.equal(true);
    });

    it("should let who stands by take over", async function () {
      const { writer, reader } = await pair("lock");
      const nextWriter = await a.producer("topic");
      const nextReader = await b.consumer("topic");
      expect(nextWriter.info().state).to.equal("standby");
      expect(nextReader.info().state).to.equal("standby");
      const [published, taken] = [nextWriter.publish(Buffer.from("second")), nextReader.take()];
      await writer.publish(Buffer.from("first"));
      expect((await reader.take())?.data.toString()).to.equal("first");
      writer.close();
      reader.close();
      await published;
      expect((await taken)?.data.toString()).to.equal("second");
      expect(nextReader.info()).to.include({ state: "live", kind: "lock", topic: "default/topic" });
    });

    it("should carry 64 MiB", async function () {
      const { writer, reader } = await pair("lock", { blocks: 65, blockBytes: 1024 ** 2 });
      const room = writer.reserveSync(64 * 1024 ** 2);
      room.bytes.fill(3);
      room.bytes[room.bytes.length - 1] = 4;
      room.commit();
      using loan = await reader.loan();
      expect(loan?.data.length).to.equal(64 * 1024 ** 2);
      expect([loan?.data[0], loan?.data.at(-1)]).to.deep.equal([3, 4]);
    });
  });

  describe("roles", function () {
    it("should be refused with the agent's code and reason", async function () {
      const x = await ShimmyClient.connect({
        socket: join(agent.runtimeDir, "pods/other/x/fd.sock"),
      });
      const denied = await x
        .consumer("default/topic", { parameters: {} })
        .catch((err: unknown) => err);
      expect(denied).to.include({ code: "SHIMMY_ERR_TOPIC_DENIED", reason: "other_namespace" });
      await x.close();
      await pair("lock");
      expect(await codeOf(() => a.subscriber("topic"))).to.equal("SHIMMY_ERR_CHANNEL_MISMATCH");
      expect(await codeOf(() => a.consumer("none"))).to.equal("SHIMMY_ERR_NOT_FOUND");
      expect(await codeOf(() => a.producer("odd", { parameters: { blockBytes: 65 } }))).to.equal(
        "SHIMMY_ERR_INVALID_OPTION",
      );
    });

    it("should not be taken after the client was closed", async function () {
      const { reader } = await pair("lock");
      const attaching = codeOf(() => b.consumer("topic"));
      await Promise.all([b.close(), b.close()]);
      expect(reader.isClosed).to.equal(true);
      expect(await attaching).to.equal("no error");
      expect(await codeOf(() => b.consumer("topic"))).to.equal("SHIMMY_ERR_CLOSED");
      expect(
        await codeOf(() => ShimmyClient.connect({ socket: "/none/fd.sock", timeoutMs: 200 })),
      ).to.equal("SHIMMY_ERR_AGENT_UNAVAILABLE");
    });

    it("should leave nothing behind when 1,000 were taken and given up", async function () {
      const round = async (): Promise<void> => {
        const writer = await a.producer("topic", { parameters: { blocks: 2 } });
        const reader = await b.consumer("topic");
        writer.tryPublish(Buffer.from("x"));
        await reader.take();
        writer.close();
        reader.close();
      };
      for (let i = 0; i < 10; i++) await round();
      const before = resources();
      for (let i = 0; i < 490; i++) await round();
      await eventually("descriptors and mappings to be gone", () => {
        const now = resources();
        return now.fds <= before.fds && now.regions <= before.regions;
      });
      expect(resources().threads).to.be.at.most(before.threads);
    });
  });

  describe("in worker threads", function () {
    for (const what of ["take", "takeSync"] as const) {
      it(`should let a worker end that waits in ${what}`, async function () {
        const before = resources();
        for (let i = 0; i < 5; i++) {
          const workerData = { socket: socketOf("b"), topic: "topic", what };
          const worker = new Worker(WORKER, { workerData });
          await once(worker, "message");
          await delay(20);
          const begun = performance.now();
          await worker.terminate();
          expect(performance.now() - begun).to.be.lessThan(2000);
        }
        await eventually("what the workers had to be gone", () => {
          return resources().fds <= before.fds && resources().regions <= before.regions;
        });
        // The role is free again.
        expect((await b.consumer("topic")).info().state).to.equal("live");
      });
    }

    it("should give back what a terminated worker was lent", async function () {
      const producer = await a.producer("topic", { parameters: {} });
      const workerData = { socket: socketOf("b"), topic: "topic", what: "lend" };
      const worker = new Worker(WORKER, { workerData });
      producer.publishSync(content(50_000, 1));
      expect(await once(worker, "message")).to.deep.equal([50_000]);
      await worker.terminate();
      const consumer = await b.consumer("topic");
      expect((await consumer.take())?.data.equals(content(50_000, 1))).to.equal(true);
    });

    it("should carry messages there and back", async function () {
      const workerData = { socket: socketOf("b"), topic: "topic", what: "echo" };
      const worker = new Worker(WORKER, { workerData });
      await once(worker, "message");
      const producer = await a.producer("topic");
      const answers = await a.consumer("topic-answers");
      for (let i = 0; i < 500; i++) {
        producer.publishSync(content(i * 7, i));
        const answer = i % 2 === 0 ? answers.takeSync() : await answers.take();
        expect(answer?.data.equals(content(i * 7, i)), `message ${i}`).to.equal(true);
      }
      producer.end();
      expect(await answers.take()).to.equal(undefined);
      const [code] = (await once(worker, "exit")) as [number];
      expect(code).to.equal(0);
    });
  });

  describe("in a process", function () {
    const modes: [mode: string, output: string][] = [
      ["idle", "done\n"],
      ["exit while waiting", ""],
      ["exit while attaching", ""],
      ["uncaught exception", "done\ncaught from a timer\n"],
      ["forgotten loans", "36 forgotten, ShimmyWarning\ndone\n"],
      ["kept view", "0 forgotten, true\ndone\n"],
      ["forgotten endpoint", "standby\nlive\ndone\n"],
    ];
    for (const [mode, output] of modes) {
      it(`should end well: ${mode}`, async function () {
        const argv = [process.execPath, "--expose-gc", EXIT, mode, socketOf("b"), "topic"];
        const { code, stdout, stderr } = await runProgram(argv, { timeoutMs: 15_000 });
        expect({ code, stdout }, stderr).to.deep.equal({ code: 0, stdout: output });
        expect((await b.consumer("topic", { parameters: {} })).info().state).to.equal("live");
      });
    }

    it("should free the role of one that is killed", async function () {
      const child = spawn(process.execPath, [EXIT, "kept view", socketOf("b"), "other"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(child.stdout, "data");
      child.kill("SIGKILL");
      await once(child, "exit");
      expect((await b.consumer("other", { parameters: {} })).info().state).to.equal("live");
    });
  });

  for (const kind of KINDS) {
    it(`should go on while the agent is restarted, ${kind}`, async function () {
      const { writer, reader } = await pair(
        kind,
        kind === "lockfree" ? { timeToLiveMs: 10_000 } : {},
      );
      const over = new AbortController();
      const isOver = (): boolean => over.signal.aborted;
      let sent = 0;
      const sending = (async () => {
        for (; !isOver(); sent++) {
          await writer.publish(content(100, sent % 200));
          if (sent % 50 === 0) await delay(1);
        }
        writer.end();
      })();
      let received = 0;
      const receiving = (async () => {
        for await (const { data } of reader) {
          expect(data.equals(content(100, received % 200)), `message ${received}`).to.equal(true);
          received++;
        }
      })();
      await eventually("traffic", () => received > 100);
      for (let round = 0; round < 2; round++) {
        await agent.stop("SIGKILL");
        const without = received;
        await eventually("traffic without the agent", () => received > without + 500);
        await agent.start();
        await eventually("both to be back", async () => {
          const { body } = await agent.get("/v1/channels/default/topic");
          return body.split('"role"').length === 3;
        });
        const back = received;
        await eventually("traffic with the agent", () => received > back + 500);
      }
      over.abort();
      await Promise.all([sending, receiving]);
      expect(received).to.equal(sent);
      expect(reader.counters()).to.include({ missed: 0, missedUnknown: 0, links: 1, rings: 1 });
    });
  }
});

/** What this process has. */
function resources(): { fds: number; regions: number; threads: number } {
  const maps = readFileSync("/proc/self/maps", "utf8");
  return {
    fds: readdirSync("/proc/self/fd").length,
    regions: maps.split("\n").filter((line) => line.includes("memfd:")).length,
    threads: readdirSync("/proc/self/task").length,
  };
}
