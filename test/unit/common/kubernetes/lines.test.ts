import { expect } from "chai";
import fc from "fast-check";

import { splitLines } from "../../../../common/kubernetes/lines.ts";
import { parseWatchEvent } from "../../../../common/kubernetes/watch-event.ts";
import { ShimmyError } from "../../../../common/errors.ts";

async function* pieces(text: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b)];
  for (const [index, from] of places.entries()) {
    await Promise.resolve();
    yield text.subarray(from, places[index + 1] ?? text.length);
  }
}

async function split(text: Buffer, cuts: readonly number[], maxBytes: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of splitLines(pieces(text, cuts), maxBytes)) lines.push(line.toString());
  return lines;
}

describe("splitLines()", function () {
  it("should give the same lines wherever the stream is cut", async function () {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "grapheme", maxLength: 20 })),
        fc.array(fc.nat()),
        async (words, cuts) => {
          const lines = words.map((word) => word.replaceAll("\n", " "));
          const text = Buffer.from(lines.map((line) => `${line}\n`).join("") + "not whole");
          expect(await split(text, cuts, 1000)).to.deep.equal(lines);
        },
      ),
    );
  });

  for (const text of ["x".repeat(11), `${"x".repeat(11)}\n`, `short\n${"x".repeat(11)}`]) {
    it(`should refuse a line that is too long: ${JSON.stringify(text)}`, async function () {
      for (const cuts of [[], [3, 6, 9]]) {
        const error: unknown = await split(Buffer.from(text), cuts, 10).catch(
          (err: unknown) => err,
        );
        expect(error).to.include({ code: "SHIMMY_ERR_KUBERNETES_API", reason: "Garbage" });
      }
    });
  }
});

describe("parseWatchEvent()", function () {
  it("should give an event or throw our error, whatever the line", function () {
    const line = fc.oneof(
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record({
          type: fc.oneof(fc.constantFrom("ADDED", "ERROR", "BOOKMARK"), fc.anything()),
          object: fc.oneof(fc.record({ metadata: fc.anything() }), fc.anything()),
        })
        .map((value) => Buffer.from(safeJson(value))),
    );
    fc.assert(
      fc.property(line, (bytes) => {
        try {
          expect(parseWatchEvent(bytes).resourceVersion).to.be.a("string");
        } catch (err) {
          expect(err).to.be.instanceOf(ShimmyError);
        }
      }),
    );
  });
});

/** JSON of anything that has some. */
function safeJson(value: unknown): string {
  try {
    return JSON.stringify(value, (_key, each: unknown) =>
      typeof each === "bigint" ? String(each) : each,
    );
  } catch {
    return "{}";
  }
}
