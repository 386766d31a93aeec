import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { AGENT_CONFIG, resolveAgentConfig } from "../../../agent/env.ts";
import { describeConfig } from "../../../common/env.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";

describe("resolveAgentConfig()", function () {
  const DEFAULTS = {
    runtimeDir: "/run/shimmy",
    admin: true,
    kubeconfig: undefined,
    netnsHelper: "/run/shimmy/helper.sock",
    logLevel: "info",
    maxSessionsPerPod: 1024,
    sessionRequestsPerSecond: 100,
    protocolVersion: undefined,
  };

  it("should need a catalog and nothing else", function () {
    const config = resolveAgentConfig({ env: { SHIMMY_CATALOG: "c.yaml" } });
    const local = { catalog: "c.yaml", nodeName: undefined, adminAddress: undefined };
    expect(config).to.deep.equal({ ...DEFAULTS, ...local });
  });

  it("should need the node's name and nothing else in Kubernetes", function () {
    const config = resolveAgentConfig({ env: { SHIMMY_NODE_NAME: "node-1" } });
    const adminAddress = { address: "0.0.0.0", port: 14_790 };
    const cluster = { catalog: undefined, nodeName: "node-1", adminAddress };
    expect(config).to.deep.equal({ ...DEFAULTS, ...cluster });
  });

  it("should need exactly one of both", function () {
    const both = { SHIMMY_CATALOG: "c.yaml", SHIMMY_NODE_NAME: "node-1" };
    for (const env of [{}, both]) {
      expect(() => resolveAgentConfig({ env }))
        .to.throw(/^exactly one of SHIMMY_CATALOG .* and SHIMMY_NODE_NAME/)
        .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    }
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
