import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { EventEmitter } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { FileCatalogSource } from "../../../agent/catalog-file.ts";
import { systemClock, type Clock } from "../../../common/clock.ts";
import { silentLog } from "./fakes.ts";

function podsText(...names: string[]): string {
  return `pods:\n${names.map((name) => `- { name: ${name}, address: 127.0.1.1 }\n`).join("")}`;
}

describe("FileCatalogSource", function () {
  let directory: string;
  let path: string;
  let source: FileCatalogSource | undefined;
  let events: EventEmitter;
  let changes: string[][];
  let refusals: string[];

  async function open(clock: Clock = systemClock): Promise<FileCatalogSource> {
    source = await FileCatalogSource.open({
      path,
      defaults: { node: "here", uid: 0 },
      clock,
      log: silentLog(),
      onChange: ({ pods }) => {
        changes.push([...pods.values()].map(({ name }) => name));
        events.emit("done");
      },
      onRefused: (error) => {
        refusals.push(error.message);
        events.emit("done");
      },
    });
    source.watch();
    return source;
  }

  beforeEach(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-catalog-"));
    path = join(directory, "catalog.yaml");
    events = new EventEmitter();
    changes = [];
    refusals = [];
    writeFileSync(path, podsText("a"));
  });

  afterEach(function () {
    source?.close();
    rmSync(directory, { recursive: true });
  });

  it("should read the file at once, and not call that a change", async function () {
    const { catalog, error } = await open();
    expect([...catalog.pods.keys()]).to.deep.equal(["default.a"]);
    expect(error).to.equal(undefined);
    expect(changes).to.deep.equal([]);
  });

  it("should throw when there is no good file to begin with", async function () {
    writeFileSync(path, "pods: 1");
    const wrong: unknown = await open().catch((err: unknown) => err);
    expect(wrong).to.have.property("code", "SHIMMY_ERR_CATALOG_INVALID");
    path = join(directory, "none.yaml");
    const missing: unknown = await open().catch((err: unknown) => err);
    expect(missing).to.have.property("code", "SHIMMY_ERR_CATALOG_INVALID");
  });

  it("should find what changed between reading and watching", async function () {
    const unwatched = await FileCatalogSource.open({
      path,
      defaults: { node: "here", uid: 0 },
      clock: systemClock,
      log: silentLog(),
      onChange: () => events.emit("done"),
      onRefused: () => undefined,
    });
    source = unwatched;
    writeFileSync(path, podsText("a", "b"));
    unwatched.watch();
    await once(events, "done");
    expect(unwatched.catalog.pods.size).to.equal(2);
  });

  it("should follow a file written in place", async function () {
    const { catalog: before } = await open();
    writeFileSync(path, podsText("a", "b"));
    await once(events, "done");
    expect(changes).to.deep.equal([["a", "b"]]);
    expect(source?.catalog.pods.size).to.equal(2);
    expect(before.pods.size).to.equal(1);
  });

  it("should follow a file replaced by a rename, again and again", async function () {
    await open();
    for (const name of ["b", "c"]) {
      writeFileSync(join(directory, "next"), podsText(name));
      renameSync(join(directory, "next"), path);
      await once(events, "done");
    }
    expect(changes).to.deep.equal([["b"], ["c"]]);
  });

  it("should keep the catalog before a bad one, say why, and recover", async function () {
    const { catalog } = await open();
    writeFileSync(path, "pods: 1");
    await once(events, "done");
    expect(source?.catalog).to.equal(catalog);
    expect(source?.error?.message).to.include("pods: must be array, got 1");
    expect(refusals).to.have.length(1);
    writeFileSync(path, podsText("a"));
    await once(events, "done");
    expect(source?.error).to.equal(undefined);
    expect(changes).to.deep.equal([["a"]]);
  });

  it("should keep the catalog while there is no file", async function () {
    const { catalog } = await open();
    rmSync(path);
    await once(events, "done");
    expect(source?.catalog).to.equal(catalog);
    expect(source?.error?.code).to.equal("SHIMMY_ERR_CATALOG_INVALID");
  });

  it("should refuse a file too big to be one, unread", async function () {
    await open();
    writeFileSync(path, `# ${"x".repeat(8 * 1024 * 1024)}`);
    await once(events, "done");
    expect(refusals[0]).to.match(/has 8388610 bytes, at most 8388608 are read/);
  });

  it("should not take a file for whole that is being written", async function () {
    await open();
    const text = podsText(...Array.from({ length: 40 }, (_, index) => `p${index}`));
    // Cut at line ends each part is a catalog by itself.
    const lines = text.split("\n");
    for (let count = 2; count <= lines.length; count += 4) {
      writeFileSync(path, lines.slice(0, count).join("\n"));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    writeFileSync(path, text);
    await once(events, "done");
    expect(changes.map((names) => names.length)).to.deep.equal([40]);
  });

  it("should find a change by polling, when no notification comes", async function () {
    const polls: (() => void)[] = [];
    const clock: Clock = {
      ...systemClock,
      every: (_period, action) => {
        polls.push(action);
        return () => undefined;
      },
    };
    await open(clock);
    // In place of the notification that was missed: the source looks when it is told to.
    writeFileSync(path, podsText("late"));
    for (const poll of polls) poll();
    await once(events, "done");
    expect(changes).to.deep.equal([["late"]]);
  });
});
