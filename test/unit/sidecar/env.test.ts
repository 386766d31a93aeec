import { expect } from "chai";

import { resolveSidecarConfig } from "../../../sidecar/env.ts";

const REQUIRED = { SHIMMY_POD: "default/client-1", SHIMMY_AGENT_DIR: "/run/x" };

describe("resolveSidecarConfig()", function () {
  it("should give every setting its default", function () {
    const config = resolveSidecarConfig({ env: REQUIRED });
    expect(config).to.include({
      agentDir: "/run/x",
      transport: "auto",
      dnsFallback: false,
      ringBudgetBytes: 64 * 1024 ** 2,
      maxRingBytes: 1024 ** 2,
      relayThreads: 1,
      spinMicros: 200,
      connectTimeoutMs: 5000,
      openTimeoutMs: 1000,
      idleTimeoutMs: 0,
      drainTimeoutMs: 25_000,
      logLevel: "info",
      appAddress: undefined,
      appPorts: undefined,
    });
    expect(config.pod).to.deep.equal({ namespace: "default", name: "client-1" });
    expect(config.adminAddress).to.deep.equal({ address: "127.0.0.1", port: 14_790 });
    expect(config.listenAddresses).to.deep.equal(["127.0.0.1", "::1"]);
    expect(config.upstreams).to.deep.equal([]);
  });

  it("should read addresses, sizes, ports and upstreams", function () {
    const config = resolveSidecarConfig({
      env: {
        ...REQUIRED,
        SHIMMY_ADMIN_ADDRESS: "[::1]:0",
        SHIMMY_MAX_RING: "256Ki",
        SHIMMY_APP_PORTS: "80, 443",
        SHIMMY_UPSTREAMS: "web:9001",
      },
      flags: { maxRingBytes: "512Ki" },
    });
    expect(config.adminAddress).to.deep.equal({ address: "::1", port: 0 });
    expect(config.maxRingBytes).to.equal(512 * 1024);
    expect(config.appPorts).to.deep.equal([80, 443]);
    expect(config.upstreams[0]).to.include({ service: "default/web", localPort: 9001 });
  });

  const refused: [env: Record<string, string>, message: string][] = [
    [{ SHIMMY_POD: "client-1" }, 'SHIMMY_POD: expected namespace/name, got "client-1"'],
    [{ SHIMMY_ADMIN_ADDRESS: "localhost:1" }, "SHIMMY_ADMIN_ADDRESS: expected an address and port"],
    [{ SHIMMY_ADMIN_ADDRESS: "[127.0.0.1]:1" }, "expected an address and port"],
    [{ SHIMMY_ADMIN_ADDRESS: "127.0.0.1:65536" }, "expected an address and port"],
    [{ SHIMMY_LISTEN_ADDRESSES: "" }, "SHIMMY_LISTEN_ADDRESSES: expected at least one address"],
    [{ SHIMMY_LISTEN_ADDRESSES: "::1,::1" }, "address ::1 is given twice"],
    [{ SHIMMY_LISTEN_ADDRESSES: "lo" }, 'expected an IPv4 or IPv6 address, got "lo"'],
    [
      { SHIMMY_MAX_RING: "100000" },
      'SHIMMY_MAX_RING: expected a power of two such as 1Mi, got "100000"',
    ],
    [{ SHIMMY_MAX_RING: "1Ki" }, "SHIMMY_MAX_RING: expected a size"],
    [{ SHIMMY_UPSTREAMS: "a:1?x=1" }, 'SHIMMY_UPSTREAMS: upstream "a:1?x=1": unknown option "x"'],
    [
      { SHIMMY_UPSTREAM: "a:1" },
      'unknown variable "SHIMMY_UPSTREAM"; did you mean "SHIMMY_UPSTREAMS"?',
    ],
    [
      { SHIMMY_UPSTREAMS: "a:14790" },
      "upstream default/a has the local port of SHIMMY_ADMIN_ADDRESS, 14790",
    ],
  ];
  for (const [env, message] of refused) {
    it(`should refuse ${JSON.stringify(env)}`, function () {
      expect(() => resolveSidecarConfig({ env: { ...REQUIRED, ...env } }))
        .to.throw(message)
        .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    });
  }

  it("should name every setting that is required and missing", function () {
    expect(() => resolveSidecarConfig({})).to.throw(
      /SHIMMY_POD: is required.*SHIMMY_AGENT_DIR: is required/,
    );
  });
});
