import { setTimeout as delay } from "node:timers/promises";

import { expect } from "chai";

import { eventually } from "../helpers/eventually.ts";
import { contents, expected, LANGUAGES, type Answer, type Fields } from "./driver.ts";
import { Stage, type Role } from "./stage.ts";

const BLOCKS = 64;
const BLOCK_BYTES = 4096;
const REGION_BYTES = BLOCKS * BLOCK_BYTES;
const FREE = {
  kind: "lockfree",
  blocks: BLOCKS,
  blockBytes: BLOCK_BYTES,
  maxLoans: 3,
  timeToLiveMs: 60_000,
};
// All can be lent. Of larger ones too many blocks would be out of the publisher's hands.
const SIZES = [0, 1, 7, 8, 63, 64, 65, 4095, 4096, 4097, 10_000];
const SHORT_MS = 50;
const LARGE_BYTES = 64 * 1024 * 1024;

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
];

for (const writer of LANGUAGES) {
  for (const reader of LANGUAGES) {
    describe(`lock-free channel from ${writer} to ${reader}`, function () {
      this.timeout(30_000);
      const stage = new Stage(writer, reader);

      before(async function () {
        await stage.start();
      });

      after(async function () {
        await stage.close();
      });

      /** A publisher, and a subscriber from before its first message. */
      async function pair(fields: Fields = {}): Promise<[Role, Role]> {
        const topic = stage.name("news");
        const publisher = await stage.attach("writer", "publisher", topic, { ...FREE, ...fields });
        const subscriber = await stage.attach("reader", "subscriber", topic);
        await met(publisher, 1);
        return [publisher, subscriber];
      }

      async function met(role: Role, peers: number): Promise<void> {
        await eventually(`${role.endpoint} to have ${peers} peers`, async () => {
          return (await role.must("describe"))["peers"] === peers;
        });
      }

      for (const way of WAYS) {
        it(`should pass every size on to every subscriber: ${way.name}`, async function () {
          const [publisher, one] = await pair();
          const topic = String((await publisher.must("describe"))["topic"]);
          // In the writer's language, and a process that has both.
          const other = await stage.attach("writer", "subscriber", topic);
          await met(publisher, 2);
          const count = SIZES.length;
          const fields = { sizes: SIZES, ...way.writer };
          const sent = expected(1000, count, SIZES);
          const takenByOne = one.take(count, way.reader);
          expect(await publisher.publish(1000, count, fields)).to.include({ result: "ok", count });
          for (const taken of [await takenByOne, await other.take(count, way.reader)]) {
            expect(taken.result, JSON.stringify(taken)).to.equal("ok");
            expect(contents(taken)).to.deep.equal(sent);
            expect(missed(taken)).to.deep.equal(sent.map(() => 0));
            expectConsecutive(taken);
          }
          const bytes = sent.reduce((sum, message) => sum + message.bytes, 0);
          for (const role of [publisher, one, other]) {
            expect(await role.counters(), role.endpoint).to.deep.include({
              messages: count,
              bytes,
              missed: 0,
              missedUnknown: 0,
              droppedPeers: 0,
            });
          }
        });
      }

      it("should pass on a message of 64 MiB", async function () {
        const [publisher, subscriber] = await pair({ blockBytes: LARGE_BYTES / BLOCKS });
        const sizes = [LARGE_BYTES];
        const [published, taken] = await Promise.all([
          publisher.publish(5, 1, { sizes }),
          subscriber.take(1),
        ]);
        expect(published).to.include({ result: "ok" });
        expect(contents(taken)).to.deep.equal(expected(5, 1, sizes));
      });

      it("should refuse what is larger than the region, and go on", async function () {
        const [publisher, subscriber] = await pair();
        for (const way of ["copy", "place"]) {
          const refused = await publisher.publish(1, 1, { sizes: [REGION_BYTES + 1], in: way });
          expect(refused).to.include({
            result: "error",
            code: "SHIMMY_ERR_MESSAGE_TOO_BIG",
            count: 0,
          });
        }
        await publisher.publish(2, 1, { sizes: [REGION_BYTES] });
        expect(contents(await subscriber.take(1))).to.deep.equal(expected(2, 1, [REGION_BYTES]));
      });

      it("should wait as long as it is told", async function () {
        const [, subscriber] = await pair();
        for (const isAsync of [false, true]) {
          const begun = performance.now();
          const answer = await subscriber.take(1, { timeoutMs: 150, isAsync });
          expect(answer).to.include({ result: "timeout" });
          expect(performance.now() - begun).to.be.within(145, 5000);
        }
      });

      it("should hold the publisher back while nobody reads and nothing has expired", async function () {
        const [publisher, subscriber] = await pair();
        const filled = await publisher.publish(1, 1000, { timeoutMs: 0 });
        expect(filled.result).to.equal("timeout");
        const count = filled.count ?? 0;
        expect(count).to.be.within(1, BLOCKS);
        const more = publisher.publish(1 + count, 5);
        const taken = await subscriber.take(count + 5);
        expect(await more).to.include({ result: "ok" });
        expect(contents(taken)).to.deep.equal(expected(1, count + 5, [100]));
      });

      it("should count what a slow subscriber missed", async function () {
        const [publisher, subscriber] = await pair({ timeToLiveMs: SHORT_MS });
        const count = 4 * BLOCKS;
        expect(await publisher.publish(1, count)).to.include({ result: "ok", count });
        await publisher.must("end");
        const taken = await subscriber.take(count);
        expect(taken.result).to.equal("ended");
        const gaps = missed(taken);
        const total = gaps.reduce((sum, gap) => sum + gap, 0);
        expect(total).to.be.greaterThan(0);
        expect(total + gaps.length).to.equal(count);
        // Each has the content of its place.
        let at = 0;
        for (const message of taken.messages ?? []) {
          at += Number(message.missed) + 1;
          expect(message.crc32).to.equal(expected(at, 1, [100])[0]?.crc32);
        }
        expect(await subscriber.counters()).to.include({
          messages: gaps.length,
          missed: total,
          missedUnknown: 0,
        });
        expect((await publisher.counters())["expired"]).to.be.at.least(total);
      });

      it("should let late subscribers begin with the oldest or behind the newest", async function () {
        const [publisher, first] = await pair();
        const topic = String((await publisher.must("describe"))["topic"]);
        await publisher.publish(1, 5);
        const oldest = await stage.attach("reader", "subscriber", topic, { start: "oldest" });
        const newest = await stage.attach("reader", "subscriber", topic, { start: "newest" });
        await met(publisher, 3);
        await publisher.publish(6, 2);
        expect(contents(await first.take(7))).to.deep.equal(expected(1, 7, [100]));
        const fromOldest = await oldest.take(7);
        expect(contents(fromOldest)).to.deep.equal(expected(1, 7, [100]));
        expect(missed(fromOldest)).to.deep.equal([0, 0, 0, 0, 0, 0, 0]);
        const fromNewest = await newest.take(2);
        expect(contents(fromNewest)).to.deep.equal(expected(6, 2, [100]));
        expect(missed(fromNewest)).to.deep.equal([0, 0]);
      });

      it("should keep what is lent while the publisher goes on", async function () {
        const [publisher, subscriber] = await pair({ timeToLiveMs: SHORT_MS });
        await publisher.publish(1, 4);
        const loans = [stage.name("loan"), stage.name("loan"), stage.name("loan")];
        for (const loan of loans) await subscriber.must("loan", { loan, timeoutMs: 1000 });
        const beyond = await subscriber.ask("loan", { loan: "beyond", timeoutMs: 1000 });
        expect(beyond).to.include({ result: "error", code: "SHIMMY_ERR_LIMIT" });
        expect(contents(await subscriber.take(1))).to.deep.equal(expected(4, 1, [100]));
        await delay(SHORT_MS * 2);
        expect(await publisher.publish(100, 3 * BLOCKS)).to.include({ result: "ok" });
        for (const at of [1, 2, 0]) {
          const loan = loans[at] ?? "";
          const read = await subscriber.driver.must("read", { loan });
          expect(contents(read)).to.deep.equal(expected(1 + at, 1, [100]));
          await subscriber.driver.must("release", { loan });
        }
        const again = await subscriber.driver.ask("release", { loan: loans[0] ?? "" });
        expect(again.result).to.equal("error");
        await subscriber.must("loan", { loan: "last", timeoutMs: 1000 });
        await subscriber.driver.must("release", { loan: "last" });
      });

      it("should lend no more blocks than it has for that, and copy instead", async function () {
        const [publisher, subscriber] = await pair();
        const sizes = [65_000];
        await publisher.publish(1, 1, { sizes, in: "place" });
        const refused = await subscriber.ask("loan", { loan: "large", timeoutMs: 1000 });
        expect(refused).to.include({ result: "error", code: "SHIMMY_ERR_LIMIT" });
        expect(contents(await subscriber.take(1))).to.deep.equal(expected(1, 1, sizes));
      });

      for (const pod of ["writer", "reader"] as const) {
        const where = pod === "writer" ? "of one pod" : "of two pods";
        it(`should keep the order of each of two publishers ${where}`, async function () {
          const [first, subscriber] = await pair();
          const topic = String((await first.must("describe"))["topic"]);
          const second = await stage.attach(pod, "publisher", topic);
          await met(subscriber, 2);
          await met(second, 1);
          await first.publish(1, 20);
          await second.publish(1001, 20);
          const taken = await subscriber.take(40);
          expect(taken.result, JSON.stringify(taken)).to.equal("ok");
          const generations = [...new Set((taken.messages ?? []).map((each) => each.generation))];
          expect(generations).to.have.lengthOf(2);
          const perPublisher = generations.map((generation) => {
            const messages = (taken.messages ?? []).filter(
              (each) => each.generation === generation,
            );
            return contents({ ...taken, messages });
          });
          expect(perPublisher).to.have.deep.members([
            expected(1, 20, [100]),
            expected(1001, 20, [100]),
          ]);
        });
      }

      it("should not know how many were missed across a publisher's restart", async function () {
        const [publisher, subscriber] = await pair();
        const topic = String((await publisher.must("describe"))["topic"]);
        await publisher.publish(1, 3);
        expect(contents(await subscriber.take(2))).to.deep.equal(expected(1, 2, [100]));
        await publisher.driver.kill();
        await stage.restart("writer");
        const again = await stage.attach("writer", "publisher", topic);
        await met(again, 1);
        await again.publish(10, 2);
        const taken = await subscriber.take(3);
        expect(taken.result).to.equal("ok");
        expect(contents(taken)).to.deep.equal([
          ...expected(3, 1, [100]),
          ...expected(10, 2, [100]),
        ]);
        expect((taken.messages ?? []).map((each) => each.missed)).to.deep.equal([0, "unknown", 0]);
        expect(await subscriber.counters()).to.include({ missed: 0, missedUnknown: 1 });
      });

      it("should lend what a publisher left to who comes later", async function () {
        const [publisher] = await pair();
        const topic = String((await publisher.must("describe"))["topic"]);
        await publisher.publish(1, 3, { sizes: [65_000] });
        await publisher.driver.kill();
        await stage.restart("writer");
        const late = await stage.attach("reader", "subscriber", topic, { start: "oldest" });
        const taken = await late.take(3, { in: "place" });
        expect(taken.result, JSON.stringify(taken)).to.equal("ok");
        expect(contents(taken)).to.deep.equal(expected(1, 3, [65_000]));
      });

      it("should publish on when a subscriber is killed", async function () {
        const [publisher, subscriber] = await pair();
        const topic = String((await publisher.must("describe"))["topic"]);
        const staying = await stage.attach("writer", "subscriber", topic);
        await met(publisher, 2);
        await subscriber.driver.kill();
        await stage.restart("reader");
        await met(publisher, 1);
        // Several times round, which one that is there and does not read would hold up.
        for (let seed = 1; seed < 4 * BLOCKS; seed += 16) {
          expect(await publisher.publish(seed, 16)).to.include({ result: "ok" });
          expect(contents(await staying.take(16))).to.deep.equal(expected(seed, 16, [100]));
        }
      });

      it("should end behind the last message", async function () {
        const [publisher, subscriber] = await pair();
        await publisher.publish(1, 3);
        await publisher.must("end");
        const taken = await subscriber.take(5);
        expect(taken.result).to.equal("ended");
        expect(contents(taken)).to.deep.equal(expected(1, 3, [100]));
        expect((await publisher.publish(9, 1)).result).to.be.oneOf(["ended", "error"]);
      });
    });
  }
}

function missed(answer: Answer): number[] {
  return (answer.messages ?? []).map((message) => Number(message.missed));
}

function expectConsecutive(answer: Answer): void {
  const sequences = (answer.messages ?? []).map(({ sequence }) => Number(sequence));
  expect(sequences).to.deep.equal(sequences.map((_, at) => (sequences[0] ?? 0) + at));
}
