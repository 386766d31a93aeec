import { closeSync, openSync, rmSync, writeFileSync } from "node:fs";

import { expect } from "chai";

import { memfdFacts } from "../../../agent/memfd.ts";
import { region } from "../../helpers/channel-process.ts";
import { skipBecause } from "../../helpers/skip.ts";

describe("memfdFacts()", function () {
  it("should tell size, pages and inode", async function () {
    using fd = region(8192);
    const facts = await memfdFacts(fd.number);
    expect(facts).to.include({ bytes: 12_288, allocatedBytes: 12_288 });
    expect(facts.id).to.match(/^\d+$/);
  });

  for (const path of ["/dev/zero", "/etc/passwd", "/"]) {
    it(`should not take ${path} for a memfd`, async function () {
      const fd = openSync(path, "r");
      try {
        const refusal = await memfdFacts(fd).catch((err: unknown) => err);
        expect(refusal).to.have.property("code", "SHIMMY_ERR_BAD_REGION");
      } finally {
        closeSync(fd);
      }
    });
  }

  it("should not take a file for a memfd that has the name of one", async function () {
    // As d_path() would print that of a memfd, and as who mounts file systems of his own can name one.
    const path = `/memfd:shimmy-${process.pid} (deleted)`;
    try {
      writeFileSync(path, Buffer.alloc(8192));
    } catch {
      skipBecause(this, "only root can make a file in /");
    }
    const fd = openSync(path, "r");
    try {
      const refusal = await memfdFacts(fd).catch((err: unknown) => err);
      expect(refusal).to.include({ code: "SHIMMY_ERR_BAD_REGION", message: "it is no memfd" });
    } finally {
      closeSync(fd);
      rmSync(path);
    }
  });

  it("should refuse what is not open", async function () {
    const refusal = await memfdFacts(1_000_000).catch((err: unknown) => err);
    expect(refusal).to.have.property("code", "SHIMMY_ERR_BAD_REGION");
  });
});
