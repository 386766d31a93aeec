import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { AGENT_CONFIG, resolveAgentConfig } from "../../../agent/env.ts";
import { describeConfig } from "../../../common/env.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";

describe("resolveAgentConfig()", function () {
  it("should need a catalog and nothing else", function () {
    const config = resolveAgentConfig({ env: { SHIMMY_CATALOG: "c.yaml" } });
    expect(config).to.deep.equal({
      catalog: "c.yaml",
      runtimeDir: "/run/shimmy",
      admin: true,
      logLevel: "info",
      maxSessionsPerPod: 1024,
      sessionRequestsPerSecond: 100,
    });
    expect(() => resolveAgentConfig({})).to.throw(/SHIMMY_CATALOG: is required/);
  });

  it("should refuse what the agent does not know", function () {
    const env = { SHIMMY_CATALOG: "c.yaml", SHIMMY_CATALOGUE: "d.yaml" };
    expect(() => resolveAgentConfig({ env })).to.throw(/did you mean "SHIMMY_CATALOG"/);
  });
});

describe("docs/reference/config.md", function () {
  it("should have the agent's settings as they are", function () {
    const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/config.md"), "utf8");
    expect(text).to.include(describeConfig(AGENT_CONFIG));
  });
});
