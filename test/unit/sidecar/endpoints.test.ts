import { expect } from "chai";

import type { ServiceEndpoint, ServiceEndpoints, ServicePort } from "../../../agent/api.ts";
import { addressTable, buildTable, lowerCap } from "../../../sidecar/endpoints.ts";
import type { TransportCap, Upstream } from "../../../sidecar/upstreams.ts";

const HTTP: ServicePort = { name: "http", port: 80, targetPort: 8080 };
const ADMIN: ServicePort = { name: "admin", port: 81, targetPort: 9090 };
const SHM: ServiceEndpoint = {
  pod: "web-1",
  address: "127.0.1.3",
  node: "laptop",
  injected: true,
  transport: "shm",
};

function upstream(part: Partial<Upstream> = {}): Upstream {
  return { service: "default/web", localPort: 9001, protocol: "tcp", transport: "auto", ...part };
}

function service(part: Partial<ServiceEndpoints> = {}): ServiceEndpoints {
  return { service: "default/web", ports: [HTTP], endpoints: [SHM], ...part };
}

describe("buildTable()", function () {
  it("should take the only port, and its target port for each pod", function () {
    expect(buildTable(upstream(), service(), "auto")).to.deep.equal({
      table: {
        service: "default/web",
        port: 80,
        endpoints: [{ pod: "web-1", address: "127.0.1.3", port: 8080, transport: "shm" }],
      },
    });
  });

  for (const port of [81, "admin"]) {
    it(`should find the port ${JSON.stringify(port)}`, function () {
      const { table } = buildTable(upstream({ port }), service({ ports: [HTTP, ADMIN] }), "auto");
      expect(table.port).to.equal(81);
      expect(table.endpoints[0]?.port).to.equal(9090);
    });
  }

  const problems: [upstream: Upstream, service: ServiceEndpoints, problem: string][] = [
    [upstream(), service({ ports: [], endpoints: [] }), "service default/web does not exist"],
    [upstream(), service({ endpoints: [] }), "service default/web has no pods"],
    [
      upstream(),
      service({ ports: [HTTP, ADMIN] }),
      "service default/web has several ports (http 80, admin 81): say which with ?port=",
    ],
    [
      upstream({ port: "htpp" }),
      service(),
      'service default/web has no port htpp, it has http 80; did you mean "http"?',
    ],
    [upstream({ port: 82 }), service(), "service default/web has no port 82, it has http 80"],
    [upstream(), service({ endpoints: [], problem: "none is ready" }), "none is ready"],
    [upstream(), service({ ports: [], endpoints: [], problem: "no pods here" }), "no pods here"],
    [
      upstream({ port: 82 }),
      service({ endpoints: [], problem: "none is ready" }),
      "service default/web has no port 82, it has http 80",
    ],
  ];
  for (const [from, of, problem] of problems) {
    it(`should say: ${problem}`, function () {
      const built = buildTable(from, of, "auto");
      expect(built.problem).to.equal(problem);
      expect(built.table.endpoints).to.deep.equal([]);
    });
  }

  it("should go by what an endpoint says of the port, where it says something", function () {
    const ports: ServiceEndpoint["ports"] = [
      { port: 80, targetPort: 8081, transport: "shm" },
      { port: 81, targetPort: 9091, transport: "tcp", reason: "policy_denied" },
    ];
    const of = service({ ports: [HTTP, ADMIN], endpoints: [{ ...SHM, ports }, SHM] });
    const common = { pod: "web-1", address: "127.0.1.3" };
    expect(buildTable(upstream({ port: 80 }), of, "auto").table.endpoints).to.deep.equal([
      { ...common, port: 8081, transport: "shm" },
      { ...common, port: 8080, transport: "shm" },
    ]);
    expect(buildTable(upstream({ port: 81 }), of, "auto").table.endpoints).to.deep.equal([
      { ...common, port: 9091, transport: "tcp", reason: "policy_denied" },
      { ...common, port: 9090, transport: "shm" },
    ]);
  });

  it("should leave out an endpoint that does not serve the port", function () {
    const ports: ServiceEndpoint["ports"] = [{ port: 81, targetPort: 9090, transport: "shm" }];
    const built = buildTable(upstream(), service({ endpoints: [{ ...SHM, ports }] }), "auto");
    expect(built.table.endpoints).to.deep.equal([]);
    expect(built.problem).to.equal("service default/web has no pods");
  });

  const caps: [cap: TransportCap, own: TransportCap, transport: string][] = [
    ["auto", "auto", "shm"],
    ["auto", "shm", "shm"],
    ["shm", "auto", "shm"],
    ["tcp", "auto", "tcp"],
    ["tcp", "shm", "tcp"],
    ["auto", "tcp", "tcp"],
  ];
  for (const [cap, own, transport] of caps) {
    it(`should reach pods by ${transport} under cap ${cap} and transport=${own}`, function () {
      const [endpoint] = buildTable(upstream({ transport: own }), service(), cap).table.endpoints;
      expect(endpoint?.transport).to.equal(transport);
      expect(endpoint?.reason).to.equal(transport === "tcp" ? "disabled" : undefined);
    });
  }

  it("should keep the agent's reason, and suppose policy_unknown where there is none", function () {
    const endpoints: ServiceEndpoint[] = [
      { ...SHM, transport: "tcp", reason: "other_node_no_fabric" },
      { ...SHM, transport: "tcp" },
    ];
    const { table } = buildTable(upstream(), service({ endpoints }), "auto");
    expect(table.endpoints.map(({ reason }) => reason)).to.deep.equal([
      "other_node_no_fabric",
      "policy_unknown",
    ]);
  });
});

describe("lowerCap()", function () {
  it("should not raise a cap", function () {
    expect(lowerCap("tcp", "auto")).to.equal("tcp");
    expect(lowerCap("shm", "auto")).to.equal("shm");
    expect(lowerCap("auto", "auto")).to.equal("auto");
  });
});

describe("addressTable()", function () {
  it("should call addresses over TCP for want of an agent", function () {
    expect(addressTable("default/web", 80, ["10.0.0.1"]).table.endpoints).to.deep.equal([
      {
        pod: "10.0.0.1",
        address: "10.0.0.1",
        port: 80,
        transport: "tcp",
        reason: "agent_unavailable",
      },
    ]);
  });
});
