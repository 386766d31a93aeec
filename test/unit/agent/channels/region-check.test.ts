import { expect } from "chai";

import { resolveParameters } from "../../../../agent/channels/parameters.ts";
import { regionBytes, regionProblem } from "../../../../agent/channels/region-check.ts";

const PAGES = [4096, 16_384, 65_536];

/** Payload of a data region on a node with such pages: whole blocks that are whole pages. */
function payload(blocks: number, blockBytes: number, page: number): number {
  let count = blocks;
  while ((count * blockBytes) % page !== 0) count++;
  return count * blockBytes;
}

describe("regionBytes()", function () {
  for (const [blocks, blockBytes] of [
    [2, 64],
    [64, 4096],
    [3, 4160],
    [5, 1_048_512],
    [65_536, 16_384],
  ] as const) {
    it(`should have room for ${blocks} blocks of ${blockBytes} bytes, whatever the page`, function () {
      const { min, max } = regionBytes("data", {
        ...resolveParameters({ kind: "lock" }),
        blocks,
        blockBytes,
      });
      for (const page of PAGES) {
        const bytes = payload(blocks, blockBytes, page) + page;
        expect(bytes).to.be.within(min, max);
      }
    });
  }
});

describe("regionProblem()", function () {
  const parameters = resolveParameters({ kind: "lock", blocks: 4 });
  const whole = (bytes: number): { bytes: number; allocatedBytes: number; id: string } => ({
    bytes,
    allocatedBytes: bytes,
    id: "1",
  });
  const table: [
    kind: "data" | "producer",
    facts: ReturnType<typeof whole>,
    problem: RegExp | undefined,
  ][] = [
    ["data", whole(5 * 4096), undefined],
    ["data", whole(4 * 4096), /expected/],
    ["data", whole(5 * 4096 + 1), /no whole pages/],
    ["data", { ...whole(5 * 4096), allocatedBytes: 4096 }, /has holes/],
    ["producer", whole(4096), undefined],
    ["producer", whole(0), /expected/],
    ["producer", whole(2 ** 30), /expected/],
  ];
  for (const [kind, facts, problem] of table) {
    it(`should judge ${facts.bytes} bytes of "${kind}", ${facts.allocatedBytes} there`, function () {
      const found = regionProblem(kind, facts, parameters);
      if (problem === undefined) expect(found).to.equal(undefined);
      else expect(found).to.match(problem);
    });
  }
});
