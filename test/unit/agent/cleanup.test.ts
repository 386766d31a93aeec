import { expect } from "chai";

import { Cleanup } from "../../../agent/cleanup.ts";

describe("Cleanup#run()", function () {
  it("should run every step once, the last first, and throw the first failure", async function () {
    const done: number[] = [];
    const cleanup = new Cleanup();
    cleanup.defer(() => void done.push(1));
    cleanup.defer(() => Promise.reject(new Error("second")));
    cleanup.defer(() => {
      done.push(3);
      throw new Error("third");
    });
    const failure: unknown = await cleanup.run().catch((err: unknown) => err);
    expect(failure).to.have.property("message", "third");
    expect(done).to.deep.equal([3, 1]);
    await cleanup.run();
    expect(done).to.deep.equal([3, 1]);
  });
});
