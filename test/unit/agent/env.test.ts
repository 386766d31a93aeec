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
    redisUrl: undefined,
    redisUsername: undefined,
    redisPasswordFile: undefined,
    redisCaFile: undefined,
    channelGrace: 300_000,
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

  for (const [url, problem] of [
    ["http://127.0.0.1:6379", /expected a URL/],
    ["redis://:secret@127.0.0.1:6379", /SHIMMY_REDIS_PASSWORD_FILE/],
    ["redis://127.0.0.1/0?timeout=1", /expected a URL/],
    ["127.0.0.1:6379", /expected a URL/],
  ] as const) {
    it(`should refuse ${url} for a Redis server`, function () {
      const env = { SHIMMY_CATALOG: "c.yaml", SHIMMY_REDIS_URL: url };
      expect(() => resolveAgentConfig({ env }))
        .to.throw(problem)
        .and.not.match(/secret/);
    });
  }

  it("should take a Redis server in local mode only", function () {
    const SHIMMY_REDIS_URL = "rediss://redis.example:6379/2";
    expect(resolveAgentConfig({ env: { SHIMMY_CATALOG: "c", SHIMMY_REDIS_URL } })).to.include({
      redisUrl: SHIMMY_REDIS_URL,
    });
    expect(() => resolveAgentConfig({ env: { SHIMMY_NODE_NAME: "n", SHIMMY_REDIS_URL } })).to.throw(
      /for local mode/,
    );
  });

  it("should refuse authorities without TLS", function () {
    const env = {
      SHIMMY_CATALOG: "c.yaml",
      SHIMMY_REDIS_URL: "redis://127.0.0.1",
      SHIMMY_REDIS_CA_FILE: "ca.pem",
    };
    expect(() => resolveAgentConfig({ env })).to.throw(/rediss:/);
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
