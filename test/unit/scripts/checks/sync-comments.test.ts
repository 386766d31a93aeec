import { expect } from "chai";
import { findUncommentedOrders } from "../../../../scripts/checks/sync-comments.ts";

const ACQUIRE = "const auto t = tail.load(std::memory_order_acquire);";

describe("findUncommentedOrders()", function () {
  it("should accept an order with a SYNC comment above it", function () {
    expect(findUncommentedOrders(`// SYNC tail (acquire): pairs with Push()\n${ACQUIRE}`)).to.be
      .empty;
  });

  it("should accept a SYNC comment on the same line", function () {
    expect(findUncommentedOrders(`${ACQUIRE}  // SYNC tail (acquire)`)).to.be.empty;
  });

  it("should refuse a SYNC comment that is too far above", function () {
    const source = `// SYNC tail (acquire)${"\n".repeat(9)}${ACQUIRE}`;
    expect(findUncommentedOrders(source)).to.deep.equal([
      { line: 10, problem: "memory order without SYNC comment" },
    ]);
  });

  it("should let one comment stand above a long block of accesses", function () {
    const block = `${ACQUIRE}\n`.repeat(20);
    expect(findUncommentedOrders(`// SYNC tail (acquire): pairs with Push()\n${block}`)).to.be
      .empty;
  });

  it("should not take SYNC in code for a comment", function () {
    expect(findUncommentedOrders(`SYNC();\n${ACQUIRE}`)).to.have.length(1);
  });

  it("should leave orders named in comments alone", function () {
    expect(findUncommentedOrders("// memory_order_seq_cst is not needed here")).to.be.empty;
  });

  for (const code of [
    "std::atomic_thread_fence(std::memory_order_seq_cst);",
    "__atomic_store_n(&tail, t, __ATOMIC_RELEASE);",
    "head.store(h, std::memory_order::release);",
    "n.fetch_add(1, std::memory_order_relaxed);",
    "n.fetch_add(1);",
    "tail.load();",
  ]) {
    it(`should refuse ${code}`, function () {
      expect(findUncommentedOrders(code)).to.have.length(1);
    });
  }

  it("should accept a relaxed access whose comment says why", function () {
    const source =
      "// Relaxed is enough: the acquire above ordered it.\nn.load(std::memory_order_relaxed);";
    expect(findUncommentedOrders(source)).to.be.empty;
  });
});
