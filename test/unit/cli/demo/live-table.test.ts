import { expect } from "chai";

import { LiveTable } from "../../../../cli/demo/live-table.ts";

describe("LiveTable", function () {
  function table(isTTY: boolean): { live: LiveTable; text: () => string } {
    const parts: string[] = [];
    const live = new LiveTable({ isTTY, write: (text: string) => parts.push(text) });
    return { live, text: () => parts.join("") };
  }

  it("should draw over itself in a terminal", function () {
    const { live, text } = table(true);
    live.update(["one"]);
    live.finish(["two", "three"]);
    expect(text()).to.equal("one\u001B[K\n\u001B[1Atwo\u001B[K\nthree\u001B[K\n");
  });

  it("should print only the last lines elsewhere, without control characters", function () {
    const { live, text } = table(false);
    live.update(["one"]);
    live.finish(["two"]);
    expect(text()).to.equal("two\n");
  });
});
