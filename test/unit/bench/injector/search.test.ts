import { expect } from "chai";

import { highestRate } from "../../../../bench/injector/search.ts";

describe("highestRate()", function () {
  async function search(limit: number): Promise<{ found: number | undefined; tried: number[] }> {
    const tried: number[] = [];
    const found = await highestRate<number>({
      above: 1024,
      steps: 6,
      ask: (rate) => Promise.resolve(tried.push(rate) * 0 + rate),
      isBorne: (_, rate) => rate <= limit,
    });
    return { found, tried };
  }

  it("should find the highest rate that is borne, to a step's width", async function () {
    const { found, tried } = await search(700);
    expect(found).to.equal(688);
    expect(tried).to.deep.equal([512, 768, 640, 704, 672, 688]);
  });

  it("should find none when none is borne", async function () {
    expect((await search(0)).found).to.equal(undefined);
  });
});
