import { expect } from "chai";

import { PARAMETER_BOUNDS as AGENT_BOUNDS } from "../../../../agent/channels/parameters.ts";
import {
  PARAMETER_BOUNDS,
  resolveEndpointOptions,
  type Role,
} from "../../../../sdk/typescript/options.ts";
import { readSource } from "../../docs/sources.ts";

describe("PARAMETER_BOUNDS", function () {
  it("should be the agent's, but for the number of loans that the C interface cannot say", function () {
    const maxLoans = { ...AGENT_BOUNDS.maxLoans, minimum: 1 };
    expect(PARAMETER_BOUNDS).to.deep.equal({ ...AGENT_BOUNDS, maxLoans });
  });

  it("should be those of the reference", function () {
    const page = readSource("docs/reference/sdk-typescript.md");
    for (const [name, { minimum, maximum }] of Object.entries(PARAMETER_BOUNDS)) {
      if (name === "timeToLiveMs") continue;
      const [, line = ""] = new RegExp("`parameters." + name + "` \\|([^|]*)").exec(page) ?? [];
      expect(line).to.include(`${minimum} to ${maximum.toLocaleString("en")}`);
    }
  });
});

describe("resolveEndpointOptions()", function () {
  it("should have the numbers of the C interface", function () {
    const header = readSource("sdk/c/include/shimmy.h");
    for (const role of ["producer", "consumer", "publisher", "subscriber"] as const) {
      const [, number] = new RegExp(`SHIMMY_${role.toUpperCase()} = (\\d)`).exec(header) ?? [];
      expect(resolveEndpointOptions(role, {}).role).to.equal(Number(number));
    }
    expect(header).to.include("SHIMMY_LOCK_BASED = 1, SHIMMY_LOCK_FREE = 2");
    expect(header).to.include("SHIMMY_NEWEST = 0, SHIMMY_OLDEST = 1");
    expect(header).to.include("SHIMMY_ADAPTIVE = 0, SHIMMY_SPIN = 1, SHIMMY_SLEEP = 2");
  });

  it("should leave what is not given to the agent, and make no channel without parameters", function () {
    const none = { blocks: 0, blockBytes: 0, readers: 0, timeToLiveMs: 0, maxLoans: 0 };
    const base = { role: 4, start: 0, waitMode: 0 };
    expect(resolveEndpointOptions("subscriber", {})).to.deep.equal({ ...base, kind: 0, ...none });
    expect(
      resolveEndpointOptions("subscriber", {
        parameters: { timeToLiveMs: 50, blocks: 128 },
        start: "oldest",
        waitMode: "spin",
      }),
    ).to.deep.equal({
      role: 4,
      start: 1,
      waitMode: 1,
      kind: 2,
      ...none,
      timeToLiveMs: 50,
      blocks: 128,
    });
  });

  const refused: [what: string, role: Role, options: object, code: string][] = [
    ["an unknown option", "producer", { parameter: {} }, "INVALID_OPTION"],
    ["an unknown parameter", "producer", { parameters: { block: 1 } }, "INVALID_OPTION"],
    ["another kind", "producer", { parameters: { kind: "lockfree" } }, "CHANNEL_MISMATCH"],
    [
      "readers of a lock-based channel",
      "consumer",
      { parameters: { readers: 2 } },
      "INVALID_OPTION",
    ],
    ["a place to begin for a producer", "producer", { start: "oldest" }, "INVALID_OPTION"],
    ["an unknown place to begin", "subscriber", { start: "middle" }, "INVALID_OPTION"],
    ["an unknown mode", "consumer", { waitMode: "toString" }, "INVALID_OPTION"],
    ["too many blocks", "producer", { parameters: { blocks: 65_537 } }, "INVALID_OPTION"],
    ["too few blocks", "producer", { parameters: { blocks: 1 } }, "INVALID_OPTION"],
    ["odd blocks", "producer", { parameters: { blockBytes: 100 } }, "INVALID_OPTION"],
    ["half a block", "producer", { parameters: { blocks: 2.5 } }, "INVALID_OPTION"],
    ["no number", "producer", { parameters: { maxLoans: "8" } }, "INVALID_OPTION"],
    ["not a number", "producer", { parameters: { maxLoans: NaN } }, "INVALID_OPTION"],
  ];
  for (const [what, role, options, code] of refused) {
    it(`should refuse ${what}`, function () {
      expect(() => resolveEndpointOptions(role, options))
        .to.throw()
        .with.property("code", `SHIMMY_ERR_${code}`);
    });
  }
});

describe("copies of small messages", function () {
  it("should be of one size in TypeScript and C++", function () {
    const [, size = ""] =
      /kCopiedLoanBytes = ([\d']+)/.exec(readSource("shm-core/src/channel_table.h")) ?? [];
    expect(readSource("sdk/typescript/reader.ts")).to.include(
      `COPIED_LOAN_BYTES = ${size.replace("'", "_")};`,
    );
  });
});
