import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";
import { parse } from "yaml";

import {
  haveSameParameters,
  PARAMETER_BOUNDS,
  parametersProblem,
  resolveParameters,
} from "../../../../agent/channels/parameters.ts";
import { PACKAGE_ROOT } from "../../../../common/version.ts";

describe("resolveParameters()", function () {
  it("should fill in what is not given, by kind", function () {
    const common = { blocks: 64, blockBytes: 4096, maxLoans: 8, readers: 1 };
    expect(resolveParameters({ kind: "lock" })).to.deep.equal({
      ...common,
      kind: "lock",
      timeToLiveMs: 0,
    });
    expect(resolveParameters({ kind: "lockfree" })).to.deep.equal({
      ...common,
      kind: "lockfree",
      timeToLiveMs: 1000,
    });
  });

  const refused: [what: string, request: unknown, problem: RegExp][] = [
    ["nothing", undefined, /must be object/],
    ["no kind", {}, /required property 'kind'/],
    ["an unknown kind", { kind: "ring" }, /^kind must be equal/],
    ["an unknown parameter", { kind: "lock", size: 1 }, /^unknown parameter "size"$/],
    ["a fraction", { kind: "lock", blocks: 2.5 }, /^blocks must be integer/],
    ["blocks that are too long", { kind: "lock", blockBytes: 2 ** 21 }, /^blockBytes must be <=/],
    ["blocks out of line", { kind: "lock", blockBytes: 100 }, /^blockBytes must be multiple of 64/],
    ["no time to live", { kind: "lockfree", timeToLiveMs: 0 }, /^timeToLiveMs must be >= 1/],
    ["more than 1 GiB", { kind: "lock", blocks: 1025, blockBytes: 2 ** 20 }, /at most 1 GiB/],
    ["readers of a lock-based channel", { kind: "lock", readers: 2 }, /lockfree channels only/],
  ];
  for (const [what, request, problem] of refused) {
    it(`should refuse ${what}`, function () {
      expect(parametersProblem(request)).to.match(problem);
      expect(() => resolveParameters(request))
        .to.throw(problem)
        .with.property("code", "SHIMMY_ERR_INVALID_OPTION");
    });
  }

  it("should take a channel of exactly 1 GiB", function () {
    expect(parametersProblem({ kind: "lock", blocks: 1024, blockBytes: 2 ** 20 })).to.equal(
      undefined,
    );
  });
});

describe("haveSameParameters()", function () {
  it("should compare each of them", function () {
    const one = resolveParameters({ kind: "lockfree" });
    expect(haveSameParameters(one, { ...one })).to.equal(true);
    expect(haveSameParameters(one, { ...one, kind: "lock" })).to.equal(false);
    for (const name of Object.keys(PARAMETER_BOUNDS)) {
      expect(haveSameParameters(one, { ...one, [name]: 7 }), name).to.equal(false);
    }
  });
});

describe("docs/reference/agent-api.openapi.yaml", function () {
  it("should have the bounds and defaults there are", function () {
    const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/agent-api.openapi.yaml"), "utf8");
    const { schemas } = (parse(text) as { components: { schemas: Record<string, object> } })
      .components;
    const { properties } = schemas.ChannelRequest as {
      properties: Record<string, { default?: number }>;
    };
    const defaults = resolveParameters({ kind: "lockfree" });
    for (const [name, bounds] of Object.entries(PARAMETER_BOUNDS)) {
      const schema = schemas[`${name[0]?.toUpperCase() ?? ""}${name.slice(1)}`];
      expect(schema, name).to.deep.equal({ type: "integer", ...bounds });
      expect(properties[name]?.default, name).to.equal(defaults[name as "blocks"]);
    }
  });
});
