import { expect } from "chai";

import type { ChannelReply, ChannelsReply } from "../../../../agent/api.ts";
import {
  changeChannels,
  showChannels,
  type Change,
  type ChannelRouteDeps,
} from "../../../../agent/channels/routes.ts";
import { ShimmyError } from "../../../../common/errors.ts";
import { expectDocumented } from "../openapi.ts";
import { CATALOG, ChannelTest, LOCK, LOCKFREE } from "./harness.ts";

const TOPICS = `${CATALOG}
topics:
  - { name: prices, kind: lockfree, blocks: 4, blockBytes: 4096, publishers: [a], subscribers: [b] }
`;

describe("routes of channels", function () {
  let test: ChannelTest;
  let deps: ChannelRouteDeps;

  function change(pod: string | undefined, rest: Partial<Change>): Promise<unknown> {
    const usual = { path: "/v1/channels", query: new URLSearchParams(), body: undefined };
    return changeChannels(deps, pod, { method: "POST", ...usual, ...rest });
  }

  async function codeOf(answer: Promise<unknown>): Promise<string> {
    const refusal = await answer.catch((err: unknown) => err);
    return refusal instanceof ShimmyError ? refusal.code : "no error";
  }

  function listed(pod?: string): string[] {
    const reply = showChannels(deps, pod, "/v1/channels") as ChannelsReply;
    expectDocumented("/v1/channels", reply);
    return reply.channels.map(({ topic }) => topic);
  }

  beforeEach(function () {
    test = new ChannelTest({ catalog: TOPICS });
    deps = { channels: test.broker, catalog: () => test.catalog };
  });

  afterEach(function () {
    test.broker.stop();
  });

  it("should show a pod what it may take a role in, and an operator all", async function () {
    await change("default.c", { body: { topic: "jobs", ...LOCK } });
    await change(undefined, { body: { topic: "other/own", ...LOCK } });
    await test.process("default.a").attached("prices", "publisher");
    expect(listed("default.a")).to.deep.equal(["default/jobs", "default/prices"]);
    expect(listed("default.c")).to.deep.equal(["default/jobs"]);
    expect(listed("other.x")).to.deep.equal(["other/own"]);
    expect(listed("default.gone")).to.deep.equal([]);
    expect(listed()).to.have.length(3);
    const show = (pod: string): unknown => showChannels(deps, pod, "/v1/channels/default/prices");
    expect(() => show("default.c"))
      .to.throw()
      .with.property("code", "SHIMMY_ERR_NOT_FOUND");
    expect(show("default.b")).to.include({ topic: "default/prices", origin: "declaration" });
  });

  it("should show data and metadata apart, with who has them", async function () {
    const [a, b] = [test.process("default.a"), test.process("default.b")];
    const publisher = await a.attached("prices", "publisher");
    await a.lodgeRing(publisher, publisher.generation ?? 0);
    const subscriber = await b.attached("prices", "subscriber");
    const { number } = await b.lodgeLink(subscriber);
    const reply = showChannels(deps, undefined, "/v1/channels/default/prices") as ChannelReply;
    expectDocumented("/v1/channels/{namespace}/{name}", reply);
    expect(reply.rings).to.deep.equal([
      {
        generation: publisher.generation,
        writer: "default.a",
        isEnded: false,
        isLodged: true,
        readers: ["default.b"],
      },
    ]);
    const both = ["default.a", "default.b"];
    expect(reply.data.map(({ kind, attachedBy }) => [kind, attachedBy])).to.deep.equal([
      ["data", both],
    ]);
    expect(reply.metadata.map(({ kind, number: of }) => [kind, of])).to.deep.equal([
      ["global", undefined],
      ["local", number],
    ]);
    expect(reply.waitWords.map(({ word }) => word)).to.deep.equal(["published", "next"]);
  });

  it("should tell a ring that is not lodged, and one that has ended", async function () {
    const rings = (): unknown =>
      (showChannels(deps, undefined, "/v1/channels/default/prices") as ChannelReply).rings.map(
        ({ isEnded, isLodged }) => ({ isEnded, isLodged }),
      );
    const a = test.process("default.a");
    const publisher = await a.attached("prices", "publisher");
    expect(rings()).to.deep.equal([{ isEnded: false, isLodged: false }]);
    await a.lodgeRing(publisher, publisher.generation ?? 0);
    test.broker.leave(a);
    expect(rings()).to.deep.equal([{ isEnded: true, isLodged: true }]);
  });

  it("should make a declared channel as it is declared, and not otherwise", async function () {
    expect(await codeOf(change("default.a", { body: { topic: "prices", kind: "lock" } }))).to.equal(
      "SHIMMY_ERR_CHANNEL_MISMATCH",
    );
    const body = { topic: "prices", ...LOCKFREE };
    expect(await change("default.a", { body })).to.have.nested.property(
      "body.origin",
      "declaration",
    );
    expect(await codeOf(change("default.c", { body }))).to.equal("SHIMMY_ERR_TOPIC_DENIED");
  });

  it("should let pods of the namespace delete, and nobody else", async function () {
    await change("default.a", { body: { topic: "jobs", ...LOCK } });
    const path = "/v1/channels/default/jobs";
    const gone = { method: "DELETE", path } as const;
    expect(await codeOf(change("other.x", gone))).to.equal("SHIMMY_ERR_TOPIC_DENIED");
    expect(await codeOf(change("default.gone", gone))).to.equal("SHIMMY_ERR_NOT_FOUND");
    expect(await change("default.b", gone)).to.deep.equal({
      status: 200,
      body: { deleted: "default/jobs" },
    });
    expect(await codeOf(change(undefined, gone))).to.equal("SHIMMY_ERR_NOT_FOUND");
  });

  it("should change nothing elsewhere", async function () {
    expect(await change("default.a", { path: "/v1/channels/default/jobs" })).to.equal(undefined);
    expect(await change("default.a", { method: "DELETE" })).to.equal(undefined);
    expect(showChannels(deps, undefined, "/v1/channel")).to.equal(undefined);
  });
});
