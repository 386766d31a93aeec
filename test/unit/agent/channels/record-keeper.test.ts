import { expect } from "chai";

import { MemoryRegistry } from "../../../../agent/channels/registry.ts";
import type { ChannelRecord, RegionsRecord } from "../../../../agent/channels/record.ts";
import type { Topic } from "../../../../agent/channels/topic.ts";
import { ShimmyError } from "../../../../common/errors.ts";
import { ChannelTest, LOCK, settle } from "./harness.ts";

const TOPIC = { namespace: "default", name: "jobs" };

/** A registry that can be away, and remembers what it was told of regions. */
class MoodyRegistry extends MemoryRegistry {
  isAway = false;
  puts = 0;
  regions: RegionsRecord | undefined;

  override async put(record: ChannelRecord): Promise<void> {
    this.puts++;
    if (this.isAway) throw new ShimmyError("SHIMMY_ERR_REGISTRY_UNAVAILABLE", "away");
    await super.put(record);
  }

  override putRegions(_topic?: Topic, regions?: RegionsRecord): Promise<void> {
    this.regions = regions;
    return Promise.resolve();
  }
}

describe("RecordKeeper", function () {
  let registry: MoodyRegistry;
  let test: ChannelTest;

  async function pass(ms: number): Promise<void> {
    test.clock.advance(ms);
    await settle();
  }

  beforeEach(function () {
    registry = new MoodyRegistry();
    test = new ChannelTest({ registry });
  });

  afterEach(function () {
    test.broker.stop();
  });

  it("should write several changes once, with regions and wait words", async function () {
    const a = test.process("default.a");
    const attached = await a.attached("jobs", "producer", { parameters: LOCK });
    await a.lodgeRing(attached, attached.generation ?? 0);
    await pass(100);
    expect(registry.puts).to.equal(1);
    expect(registry.regions?.regions.map(({ kind }) => kind)).to.deep.equal(["data", "producer"]);
    const [, metadata] = registry.regions?.regions ?? [];
    expect(metadata).to.include({ writer: "default.a", generation: attached.generation });
    expect(registry.regions?.waitWords).to.deep.equal([{ region: metadata?.id, word: "produced" }]);
  });

  it("should write again what could not be written, once it can", async function () {
    await test.process("default.a").attached("jobs", "producer", { parameters: LOCK });
    registry.isAway = true;
    await pass(100);
    await registry.remove(TOPIC);
    test.broker.sweep();
    await settle();
    expect(await registry.find(TOPIC)).to.equal(undefined);
    registry.isAway = false;
    test.broker.sweep();
    await settle();
    expect(await registry.find(TOPIC)).to.deep.include({ topic: TOPIC });
  });

  it("should put what is in use on record again every 30 s", async function () {
    await test.process("default.a").attached("jobs", "producer", { parameters: LOCK });
    await pass(100);
    await registry.remove(TOPIC);
    test.broker.sweep();
    await pass(30_000);
    test.broker.sweep();
    await settle();
    expect(await registry.find(TOPIC)).to.deep.include({ topic: TOPIC });
  });
});
