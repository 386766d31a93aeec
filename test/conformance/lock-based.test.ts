import { expect } from "chai";

import { eventually } from "../helpers/eventually.ts";
import { contents, expected, LANGUAGES, type Answer, type Fields } from "./driver.ts";
import { Stage, type Role } from "./stage.ts";

const BLOCKS = 64;
const BLOCK_BYTES = 4096;
const REGION_BYTES = BLOCKS * BLOCK_BYTES;
const LOCK = { kind: "lock", blocks: BLOCKS, blockBytes: BLOCK_BYTES, maxLoans: 3 };
const SIZES = [0, 1, 7, 8, 63, 64, 65, 4095, 4096, 4097, 10_000, 65_000, REGION_BYTES];
const LARGE_BYTES = 64 * 1024 * 1024;

/** How both sides move messages. */
const WAYS: readonly { name: string; writer: Fields; reader: Fields }[] = [
  { name: "copies", writer: { in: "copy" }, reader: { in: "copy" } },
  { name: "in place", writer: { in: "place" }, reader: { in: "place" } },
  {
    name: "copies, asynchronously",
    writer: { in: "copy", isAsync: true },
    reader: { in: "copy", isAsync: true },
  },
  {
    name: "in place, asynchronously",
    writer: { in: "place", isAsync: true },
    reader: { in: "place", isAsync: true },
  },
  { name: "copies by spinning", writer: { waitMode: "spin" }, reader: { waitMode: "spin" } },
  { name: "copies by sleeping", writer: { waitMode: "sleep" }, reader: { waitMode: "sleep" } },
];

for (const writer of LANGUAGES) {
  for (const reader of LANGUAGES) {
    describe(`lock-based channel from ${writer} to ${reader}`, function () {
      this.timeout(30_000);
      const stage = new Stage(writer, reader);

      before(async function () {
        await stage.start();
      });

      after(async function () {
        await stage.close();
      });

      async function pair(
        fields: Fields = {},
        modes: [Fields?, Fields?] = [],
      ): Promise<[Role, Role]> {
        const topic = stage.name("jobs");
        const producer = await stage.attach("writer", "producer", topic, {
          ...LOCK,
          ...fields,
          ...modes[0],
        });
        return [producer, await stage.attach("reader", "consumer", topic, { ...modes[1] })];
      }

      async function expectBoth(
        roles: readonly Role[],
        messages: number,
        bytes: number,
      ): Promise<void> {
        for (const role of roles) {
          expect(await role.counters(), role.endpoint).to.deep.include({
            messages,
            bytes,
            droppedPeers: 0,
          });
        }
      }

      for (const way of WAYS) {
        it(`should pass every size on, in order and once: ${way.name}`, async function () {
          const { waitMode = "adaptive" } = way.writer;
          const [producer, consumer] = await pair({}, [{ waitMode }, { waitMode }]);
          const count = 4 * SIZES.length;
          const [published, taken] = await Promise.all([
            producer.publish(1000, count, { sizes: SIZES, ...way.writer }),
            consumer.take(count, way.reader),
          ]);
          expect(published).to.include({ result: "ok", count });
          const sent = expected(1000, count, SIZES);
          expect(taken.result).to.equal("ok");
          expect(contents(taken)).to.deep.equal(sent);
          expectGrowing(taken);
          expect(await consumer.take(1, { timeoutMs: 0 })).to.include({ result: "timeout" });
          const bytes = sent.reduce((sum, message) => sum + message.bytes, 0);
          await expectBoth([producer, consumer], count, bytes);
        });
      }

      it("should pass on a message of 64 MiB", async function () {
        const [producer, consumer] = await pair({ blockBytes: LARGE_BYTES / BLOCKS });
        const sizes = [LARGE_BYTES];
        const [published, taken] = await Promise.all([
          producer.publish(5, 1, { sizes }),
          consumer.take(1),
        ]);
        expect(published).to.include({ result: "ok" });
        expect(contents(taken)).to.deep.equal(expected(5, 1, sizes));
        await expectBoth([producer, consumer], 1, LARGE_BYTES);
      });

      it("should refuse what is larger than the region, and go on", async function () {
        const [producer, consumer] = await pair();
        for (const way of ["copy", "place"]) {
          const refused = await producer.publish(1, 1, { sizes: [REGION_BYTES + 1], in: way });
          expect(refused).to.include({
            result: "error",
            code: "SHIMMY_ERR_MESSAGE_TOO_BIG",
            count: 0,
          });
        }
        await producer.publish(2, 1);
        expect(contents(await consumer.take(1))).to.deep.equal(expected(2, 1, [100]));
        await expectBoth([producer, consumer], 1, 100);
      });

      it("should wait as long as it is told", async function () {
        const [producer, consumer] = await pair();
        for (const isAsync of [false, true]) {
          const begun = performance.now();
          const answer = await consumer.take(1, { timeoutMs: 150, isAsync });
          expect(answer).to.include({ result: "timeout" });
          expect(performance.now() - begun).to.be.within(145, 5000);
        }
        // Several blocks of four make it full.
        await producer.publish(1, BLOCKS);
        for (const isAsync of [false, true]) {
          const begun = performance.now();
          const answer = await producer.publish(1, 1, { timeoutMs: 150, isAsync });
          expect(answer).to.include({ result: "timeout", count: 0 });
          expect(performance.now() - begun).to.be.within(145, 5000);
        }
      });

      it("should hold the producer back when it is full", async function () {
        const [producer, consumer] = await pair();
        expect(await producer.publish(1, BLOCKS + 5, { timeoutMs: 0 })).to.include({
          result: "timeout",
          count: BLOCKS,
        });
        const more = producer.publish(1 + BLOCKS, 5);
        const taken = await consumer.take(BLOCKS + 5);
        expect(await more).to.include({ result: "ok", count: 5 });
        expect(contents(taken)).to.deep.equal(expected(1, BLOCKS + 5, [100]));
      });

      it("should end behind the last message", async function () {
        const [producer, consumer] = await pair();
        await producer.publish(1, 3);
        await producer.must("end");
        const taken = await consumer.take(5);
        expect(taken.result).to.equal("ended");
        expect(contents(taken)).to.deep.equal(expected(1, 3, [100]));
        expect((await producer.publish(9, 1)).result).to.be.oneOf(["ended", "error"]);
        await expectBoth([producer, consumer], 3, 300);
      });

      it("should end while the consumer waits", async function () {
        for (const isAsync of [false, true]) {
          const [producer, consumer] = await pair();
          const taken = consumer.take(1, { isAsync });
          await producer.must("end");
          expect(await taken).to.include({ result: "ended" });
        }
      });

      it("should drain when all was taken, and released", async function () {
        const [producer, consumer] = await pair();
        await producer.publish(1, 2);
        expect(await producer.ask("drain", { timeoutMs: 50 })).to.include({ result: "timeout" });
        await consumer.take(1);
        const loan = stage.name("loan");
        await consumer.must("loan", { loan, timeoutMs: 1000 });
        expect(await producer.ask("drain", { timeoutMs: 50 })).to.include({ result: "timeout" });
        const drained = producer.must("drain", { timeoutMs: 10_000 });
        await consumer.driver.must("release", { loan });
        await drained;
      });

      it("should let a standby producer take over", async function () {
        const [first, consumer] = await pair();
        const topic = String((await first.must("describe"))["topic"]);
        const second = await stage.attach("writer", "producer", topic);
        expect(await second.must("describe")).to.include({ state: "standby" });
        expect(await second.publish(50, 1, { timeoutMs: 50 })).to.include({ result: "timeout" });
        await first.publish(1, 4);
        await first.must("detach");
        await second.publish(5, 4);
        expect(await second.must("describe")).to.include({ state: "live" });
        const taken = await consumer.take(8);
        expect(contents(taken)).to.deep.equal(expected(1, 8, [100]));
        expectGrowing(taken);
        expect(new Set(generations(taken))).to.have.lengthOf(2);
        expect(await consumer.counters()).to.include({ messages: 8, rings: 2 });
      });

      it("should let a standby consumer take over", async function () {
        const [producer, first] = await pair();
        const topic = String((await first.must("describe"))["topic"]);
        const second = await stage.attach("reader", "consumer", topic);
        expect(await second.must("describe")).to.include({ state: "standby" });
        await producer.publish(1, 10);
        expect(await second.take(1, { timeoutMs: 50 })).to.include({ result: "timeout" });
        expect(contents(await first.take(4))).to.deep.equal(expected(1, 4, [100]));
        await first.must("detach");
        expect(contents(await second.take(6))).to.deep.equal(expected(5, 6, [100]));
        await producer.must("drain", { timeoutMs: 10_000 });
        expect(await producer.counters()).to.include({ messages: 10, links: 2 });
      });

      it("should lend up to maxLoans, released in any order", async function () {
        const [producer, consumer] = await pair();
        await producer.publish(1, 5);
        const loans = [stage.name("loan"), stage.name("loan"), stage.name("loan")];
        for (const loan of loans) await consumer.must("loan", { loan, timeoutMs: 1000 });
        const beyond = await consumer.ask("loan", { loan: "beyond", timeoutMs: 1000 });
        expect(beyond).to.include({ result: "error", code: "SHIMMY_ERR_LIMIT" });
        // What is lent stays; a copy can still be taken.
        expect(contents(await consumer.take(1))).to.deep.equal(expected(4, 1, [100]));
        for (const at of [1, 2, 0]) {
          const loan = loans[at] ?? "";
          const read = await consumer.driver.must("read", { loan });
          expect(contents(read)).to.deep.equal(expected(1 + at, 1, [100]));
          await consumer.driver.must("release", { loan });
        }
        const last = await consumer.must("loan", { loan: "last", timeoutMs: 1000 });
        expect(contents(last)).to.deep.equal(expected(5, 1, [100]));
        await consumer.driver.must("release", { loan: "last" });
        await producer.must("drain", { timeoutMs: 10_000 });
      });

      it("should commit rooms in their order, with less than was reserved", async function () {
        const [producer, consumer] = await pair();
        const [one, other] = [stage.name("room"), stage.name("room")];
        for (const room of [one, other]) {
          await producer.must("reserve", { room, bytes: 20_000, timeoutMs: 1000 });
        }
        await producer.driver.must("fill", { room: one, seed: 1 });
        await producer.driver.must("fill", { room: other, seed: 2 });
        const early = await producer.driver.ask("commit", { room: other });
        expect(early).to.include({ result: "error", code: "SHIMMY_ERR_INVALID_OPTION" });
        await producer.driver.must("commit", { room: one, bytes: 17_000 });
        await producer.driver.must("commit", { room: other });
        expect(contents(await consumer.take(2))).to.deep.equal([
          ...expected(1, 1, [17_000]),
          ...expected(2, 1, [20_000]),
        ]);
        const third = stage.name("room");
        await producer.must("reserve", { room: third, bytes: 20_000, timeoutMs: 1000 });
        await producer.driver.must("cancel", { room: third });
        await producer.publish(3, 1);
        expect(contents(await consumer.take(1))).to.deep.equal(expected(3, 1, [100]));
      });

      it("should answer misuse with errors, and go on", async function () {
        const [producer, consumer] = await pair();
        await producer.publish(1, 2);
        const [loan, room] = [stage.name("loan"), stage.name("room")];
        await consumer.must("loan", { loan, timeoutMs: 1000 });
        await consumer.driver.must("release", { loan });
        await producer.must("reserve", { room, bytes: 100, timeoutMs: 1000 });
        const tooMuch = await producer.driver.ask("commit", { room, bytes: 101 });
        await producer.driver.must("fill", { room, seed: 3 });
        await producer.driver.must("commit", { room });
        for (const answer of [
          tooMuch,
          await consumer.driver.ask("release", { loan }),
          await consumer.driver.ask("read", { loan }),
          await producer.driver.ask("commit", { room }),
          await producer.driver.ask("fill", { room, seed: 9 }),
        ]) {
          expect(answer.result, JSON.stringify(answer)).to.equal("error");
          expect(answer.code).to.be.oneOf(["SHIMMY_ERR_INVALID_OPTION", "SHIMMY_ERR_CLOSED"]);
        }
        // To cancel what is over is allowed in some languages, and does nothing in any.
        await producer.driver.ask("cancel", { room });
        expect(contents(await consumer.take(2))).to.deep.equal(expected(2, 2, [100]));
        await consumer.must("detach");
        expect(await consumer.take(1)).to.include({ result: "error", code: "SHIMMY_ERR_CLOSED" });
        await expectBoth([producer], 3, 300);
      });

      it("should go on where a killed consumer was", async function () {
        const [producer, consumer] = await pair();
        const topic = String((await producer.must("describe"))["topic"]);
        await producer.publish(1, 10);
        await consumer.take(4);
        // Lent and not given back: it comes again.
        await consumer.must("loan", { loan: stage.name("loan"), timeoutMs: 1000 });
        await consumer.driver.kill();
        await stage.restart("reader");
        const again = await stage.attach("reader", "consumer", topic);
        expect(contents(await again.take(6))).to.deep.equal(expected(5, 6, [100]));
        expect(await again.take(1, { timeoutMs: 50 })).to.include({ result: "timeout" });
        await producer.must("drain", { timeoutMs: 10_000 });
      });

      it("should keep what a killed producer has published", async function () {
        const [producer, consumer] = await pair();
        const topic = String((await producer.must("describe"))["topic"]);
        await producer.publish(1, 5);
        await producer.must("reserve", { room: stage.name("room"), bytes: 9, timeoutMs: 1000 });
        await consumer.take(2);
        await producer.driver.kill();
        await stage.restart("writer");
        const again = await stage.attach("writer", "producer", topic);
        await eventually("the role", async () => {
          return (await again.must("describe"))["state"] === "live";
        });
        await again.publish(6, 3);
        await again.must("end");
        const taken = await consumer.take(7);
        expect(contents(taken)).to.deep.equal(expected(3, 6, [100]));
        expect(taken.result).to.equal("ended");
        expectGrowing(taken);
      });

      it("should refuse a topic of another namespace with its reason", async function () {
        const topic = stage.name("jobs");
        const denied = await stage.driver("reader").ask("attach", {
          client: "reader",
          endpoint: "denied",
          topic: `other/${topic}`,
          role: "consumer",
        });
        expect(denied).to.include({
          result: "error",
          code: "SHIMMY_ERR_TOPIC_DENIED",
          reason: "other_namespace",
        });
      });

      it("should end well when its program does", async function () {
        expect(await stage.driver("reader").close()).to.equal(0);
        expect(await stage.driver("writer").close()).to.equal(0);
      });
    });
  }
}

function generations(answer: Answer): number[] {
  return (answer.messages ?? []).map(({ generation }) => Number(generation));
}

// By generation, then by sequence.
function expectGrowing(answer: Answer): void {
  const marks = (answer.messages ?? []).map(
    ({ generation, sequence }) => BigInt(generation) * 2n ** 64n + BigInt(sequence),
  );
  for (const [at, mark] of marks.entries()) {
    if (at > 0) expect(mark > (marks[at - 1] ?? 0n), `message ${at}`).to.be.true;
  }
}
