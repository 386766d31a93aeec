import { expect } from "chai";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { findRuntimeDir } from "../../../../cli/top/find.ts";

describe("findRuntimeDir()", function () {
  let root: string;

  beforeEach(function () {
    root = mkdtempSync(join(tmpdir(), "shimmy-find-"));
    for (const name of ["shimmy-run-a", "shimmy-run-b", "other"]) mkdirSync(join(root, name));
  });

  afterEach(function () {
    rmSync(root, { recursive: true });
  });

  const find = (...alive: readonly string[]): Promise<string> =>
    findRuntimeDir({
      root,
      systemDir: "/run/shimmy",
      answers: (path) => Promise.resolve(alive.some((part) => path.includes(part))),
    });

  it("should prefer the installed agent", async function () {
    expect(await find("/run/shimmy/", "shimmy-run-a")).to.equal("/run/shimmy");
  });

  it("should take the one run that is running", async function () {
    expect(await find("shimmy-run-b", "other")).to.equal(join(root, "shimmy-run-b/run"));
  });

  it("should refuse to choose between two", async function () {
    const error: unknown = await find("shimmy-run-").catch((err: unknown) => err);
    expect(error).to.have.property("code", "SHIMMY_ERR_AGENT_UNAVAILABLE");
    expect(error)
      .to.have.property("message")
      .that.includes("shimmy-run-a")
      .and.includes("--runtime");
  });

  it("should say when there is none", async function () {
    const error: unknown = await find().catch((err: unknown) => err);
    expect(error).to.have.property("code", "SHIMMY_ERR_AGENT_UNAVAILABLE");
    expect(error).to.have.property("message").that.includes("no agent answers in /run/shimmy");
  });
});
