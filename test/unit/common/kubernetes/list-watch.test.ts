import { expect } from "chai";

import { systemClock } from "../../../../common/clock.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import {
  ListWatch,
  type ListWatchEvent,
  type ListWatchLimits,
} from "../../../../common/kubernetes/list-watch.ts";
import { RESOURCES } from "../../../../common/kubernetes/resources.ts";
import { createLogger } from "../../../../common/log.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";

const { pods } = RESOURCES;
const QUICK: ListWatchLimits = {
  retryMs: 5,
  maxRetryMs: 20,
  silenceMs: 60_000,
  watchMs: 60_000,
  resyncMs: 600_000,
  pageSize: 2,
  maxLineBytes: 2000,
};

describe("ListWatch", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let watch: ListWatch<string>;
  let changes: string[];
  let events: ListWatchEvent[];

  function put(name: string, colour: string): void {
    server.put(pods, { metadata: { name, namespace: "a", labels: { colour } } });
  }

  function known(): string {
    return [...watch.items]
      .map(([key, colour]) => `${key}=${colour}`)
      .sort()
      .join(" ");
  }

  async function start(limits: Partial<ListWatchLimits> = {}): Promise<void> {
    changes = [];
    events = [];
    watch = new ListWatch({
      api,
      resource: pods,
      take: ({ metadata: { labels = {} } }) => {
        if (labels["colour"] === "bad") throw new Error("not a colour");
        return labels["colour"] === "none" ? undefined : labels["colour"];
      },
      onChange: (key) => changes.push(key),
      onEvent: (event) => events.push(event),
      clock: systemClock,
      log: createLogger({ process: "test", level: "silent" }),
      limits: { ...QUICK, ...limits },
    });
    watch.start();
    await watch.synced;
    await eventually("a watch", () => server.watchCount === 1);
  }

  async function settles(expected: string): Promise<void> {
    await eventually(`${expected}, has ${known()}`, () => known() === expected);
  }

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    put("one", "red");
  });

  afterEach(async function () {
    await watch.close();
    await api.close();
    await server.close();
  });

  it("should list in pages, then follow what is added, changed and deleted", async function () {
    for (const name of ["two", "three", "four", "five"]) put(name, "red");
    await start();
    expect(server.lists("/pods")).to.have.length(3);
    expect(watch.items.size).to.equal(5);
    for (const name of ["two", "three", "four"]) server.delete(pods, name, "a");
    put("five", "blue");
    put("six", "green");
    await settles("a/five=blue a/one=red a/six=green");
    expect(watch.silentMs).to.be.lessThan(5000);
    expect(server.requests[0]?.authorization).to.equal("Bearer secret");
  });

  it("should wait for a server that is not there yet (I1)", async function () {
    let refusals = 3;
    server.intercept = () => (refusals-- > 0 ? "drop" : undefined);
    await start();
    await settles("a/one=red");
    expect(events.filter((event) => event === "error")).to.have.length(3);
  });

  it("should go on from its version when the connection is cut", async function () {
    await start();
    server.cut();
    put("two", "blue");
    await settles("a/one=red a/two=blue");
    expect(server.lists("/pods")).to.have.length(1);
  });

  it("should keep what it knows while there is no server, and catch up (I2)", async function () {
    await start();
    server.intercept = () => "drop";
    server.cut();
    put("two", "blue");
    await eventually("some attempts", () => events.filter((each) => each === "error").length > 3);
    expect(known()).to.equal("a/one=red");
    expect(watch.isSynced).to.equal(true);
    server.intercept = () => undefined;
    await settles("a/one=red a/two=blue");
  });

  it("should list again when its version is forgotten, and see what went meanwhile (I3)", async function () {
    await start();
    put("two", "blue");
    await settles("a/one=red a/two=blue");
    server.intercept = ({ query }) => (query.get("watch") === null ? undefined : "drop");
    server.cut();
    server.delete(pods, "one", "a");
    put("three", "green");
    server.compact();
    server.intercept = () => undefined;
    await settles("a/three=green a/two=blue");
    expect(changes.slice(-2).sort()).to.deep.equal(["a/one", "a/three"]);
  });

  for (const [what, line] of [
    ["a 410 in the stream", { type: "ERROR", object: { kind: "Status", code: 410 } }],
    ["a line that is no event", { type: "SURPRISE", object: {} }],
    ["an object without a name", { type: "ADDED", object: { metadata: { resourceVersion: "9" } } }],
  ] as const) {
    it(`should list again after ${what}`, async function () {
      await start();
      server.sendToWatches(`${JSON.stringify(line)}\n`);
      await eventually("a second list", () => server.lists("/pods").length === 2);
      put("two", "blue");
      await settles("a/one=red a/two=blue");
    });
  }

  for (const [what, text] of [
    ["text that is not JSON", "{{{\n"],
    ["a line that is too long", "x".repeat(2001)],
  ] as const) {
    it(`should list again after ${what}`, async function () {
      await start();
      server.sendToWatches(text);
      await eventually("a second list", () => server.lists("/pods").length === 2);
      put("two", "blue");
      await settles("a/one=red a/two=blue");
    });
  }

  it("should take lines in whatever pieces they come", async function () {
    await start();
    const object = { metadata: { name: "é", namespace: "a", labels: { colour: "blue" } } };
    const metadata = { ...object.metadata, resourceVersion: "500" };
    const line = Buffer.from(`\n${JSON.stringify({ type: "ADDED", object: { metadata } })}\n`);
    for (const byte of line) {
      server.sendToWatches(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await settles("a/one=red a/é=blue");
  });

  it("should leave the server alone for as long as Retry-After says", async function () {
    await start();
    const refusal = failure(429, "TooManyRequests", "busy", { "retry-after": "1" });
    let refusedAt = 0;
    server.intercept = () => {
      if (refusedAt > 0) return undefined;
      refusedAt = performance.now();
      return refusal;
    };
    server.cut();
    await eventually("a refusal", () => refusedAt > 0);
    const before = server.requests.length;
    await eventually("the next attempt", () => server.requests.length > before);
    expect(performance.now() - refusedAt).to.be.greaterThan(950);
  });

  it("should give up a watch that is silent, and go on from its version (I4)", async function () {
    await start({ silenceMs: 80 });
    server.stallWatches();
    put("two", "blue");
    await settles("a/one=red a/two=blue");
    expect(events).to.include("silence");
    expect(server.lists("/pods")).to.have.length(1);
  });

  it("should count a watch that the server accepts as heard, where no bookmarks come", async function () {
    await start({ silenceMs: 100 });
    const silences = (): number => events.filter((event) => event === "silence").length;
    await eventually("three silent watches", () => silences() === 3);
    await eventually("another watch", () => events.at(-1) === "watch" && server.watchCount === 1);
    expect(watch.silentMs).to.be.lessThan(200);
    expect(server.lists("/pods"), "none but the first").to.have.length(1);
  });

  it("should keep a quiet watch as long as bookmarks come, and go on from the last", async function () {
    await start({ silenceMs: 600 });
    for (let i = 0; i < 9; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      server.bookmark();
    }
    expect(events).not.to.include("silence");
    server.put(RESOURCES.nodes, { metadata: { name: "n" } });
    server.bookmark();
    await new Promise((resolve) => setTimeout(resolve, 20));
    server.endWatches();
    await eventually("a second watch", () => events.filter((each) => each === "watch").length > 1);
    const versions = server.requests.map(({ query }) => query.get("resourceVersion"));
    expect(versions.at(-1)).to.equal("102");
  });

  it("should list again after the resync time, and see a lost event (I5)", async function () {
    await start({ resyncMs: 100 });
    server.stallWatches();
    put("two", "blue");
    // The event was lost; the next thing heard is a bookmark.
    await new Promise((resolve) => setTimeout(resolve, 120));
    server.bookmark();
    await settles("a/one=red a/two=blue");
  });

  it("should leave out an object that cannot be used, and see the others", async function () {
    await start();
    put("two", "bad");
    put("three", "none");
    put("four", "blue");
    await settles("a/four=blue a/one=red");
    expect(events).to.include("refused");
    put("one", "bad");
    await settles("a/four=blue");
  });

  it("should list again when watches from its version fail again and again", async function () {
    await start();
    let failures = 6;
    server.intercept = ({ query }) =>
      query.get("watch") !== null && failures-- > 0
        ? failure(500, "InternalError", "no")
        : undefined;
    server.cut();
    await eventually("a second list", () => server.lists("/pods").length === 2);
    put("two", "blue");
    await settles("a/one=red a/two=blue");
  });

  it("should close while it waits for the server", async function () {
    await start({ retryMs: 60_000, maxRetryMs: 60_000 });
    server.cut();
    await eventually("an error", () => events.includes("error"));
    await watch.close();
  });
});
