import { expect } from "chai";

import type { ServiceEndpoint } from "../../../agent/api.ts";
import type { Catalog, CatalogEndpoint, CatalogService } from "../../../agent/catalog.ts";
import { FileTopicRules } from "../../../agent/channels/topic-rules.ts";
import type { PolicyReason } from "../../../agent/catalog-rules.ts";
import { endpointsFor, UNKNOWN_NODE } from "../../../agent/endpoints.ts";
import type { FallbackReason } from "../../../common/reasons.ts";
import { catalogOf } from "./fakes.ts";

const CATALOG = catalogOf(`
pods:
  - { name: web, address: 127.0.1.2 }
  - { name: far, address: 10.0.0.1, node: there }
  - { name: client, address: 127.0.1.3 }
services:
  - { name: orders, ports: [{ port: 80, targetPort: 8080 }], pods: [web, far] }
`);

describe("endpointsFor()", function () {
  const client = CATALOG.pods.get("default.client");
  if (client === undefined) throw new Error("no client");

  it("should say of each pod how it is reached, with a reason exactly for TCP", function () {
    expect(endpointsFor(client, "default/orders", CATALOG)).to.deep.equal({
      service: "default/orders",
      ports: [{ name: "", port: 80, targetPort: 8080 }],
      endpoints: [
        {
          pod: "default.web",
          address: "127.0.1.2",
          node: "here",
          injected: true,
          transport: "shm",
        },
        {
          pod: "default.far",
          address: "10.0.0.1",
          node: "there",
          injected: true,
          transport: "tcp",
          reason: "other_node_no_fabric",
        },
      ],
    });
  });

  it("should be empty for a service that does not exist", function () {
    expect(endpointsFor(client, "default/none", CATALOG)).to.deep.equal({
      service: "default/none",
      ports: [],
      endpoints: [],
    });
  });
});

describe("endpointsFor() with ports of single endpoints", function () {
  const service: CatalogService = {
    key: "default/orders",
    namespace: "default",
    ports: [
      { name: "http", port: 80, targetPort: 8080 },
      { name: "admin", port: 81, targetPort: 9090 },
    ],
    endpoints: [],
    isSticky: false,
  };
  const usual = new Map([
    [80, 8080],
    [81, 9090],
  ]);

  function endpointsOf(
    endpoint: Partial<CatalogEndpoint>,
    reasons: Readonly<Record<number, PolicyReason>> = {},
  ): readonly ServiceEndpoint[] {
    const pods = new Map(CATALOG.pods);
    const web = pods.get("default.web");
    if (web === undefined || client === undefined) throw new Error("no pod");
    const backings = [...usual.values(), 8081].map((port) => ({
      service: service.key,
      port,
      servicePorts: [],
    }));
    pods.set("default.web", { ...web, backings, appPorts: [8080, 8081, 9090] });
    const known = { pod: "default.web", isKnown: true, address: "127.0.1.2", node: "here" };
    const endpoints = [{ ...known, ports: usual, ...endpoint }];
    const catalog: Catalog = {
      node: "here",
      pods,
      services: new Map([[service.key, { ...service, endpoints }]]),
      topics: new FileTopicRules([]),
      rules: {
        isStale: false,
        isOff: () => false,
        check: ({ backing }) => reasons[backing.port],
      },
    };
    return endpointsFor(client, service.key, catalog).endpoints;
  }

  const client = CATALOG.pods.get("default.client");
  const common = { pod: "default.web", address: "127.0.1.2", node: "here", injected: true };

  it("should say nothing of ports that are all the same", function () {
    expect(endpointsOf({})).to.deep.equal([{ ...common, transport: "shm" }]);
    const both = { 8080: "policy_denied", 9090: "policy_denied" } as const;
    expect(endpointsOf({}, both)).to.deep.equal([
      { ...common, transport: "tcp", reason: "policy_denied" },
    ]);
  });

  for (const reason of ["policy_denied", "policy_unknown"] as const) {
    it(`should send one port over TCP by ${reason}, and the other not`, function () {
      expect(endpointsOf({}, { 9090: reason })).to.deep.equal([
        {
          ...common,
          transport: "shm",
          ports: [
            { port: 80, targetPort: 8080, transport: "shm" },
            { port: 81, targetPort: 9090, transport: "tcp", reason },
          ],
        },
      ]);
    });
  }

  it("should name target ports that are not the service's", function () {
    const ports = new Map([
      [80, 8081],
      [81, 9090],
    ]);
    expect(endpointsOf({ ports })).to.deep.equal([
      {
        ...common,
        transport: "shm",
        ports: [
          { port: 80, targetPort: 8081, transport: "shm" },
          { port: 81, targetPort: 9090, transport: "shm" },
        ],
      },
    ]);
  });

  it("should name the ports that there are when one is missing, and nothing without any", function () {
    expect(endpointsOf({ ports: new Map([[81, 9090]]) })[0]?.ports).to.deep.equal([
      { port: 81, targetPort: 9090, transport: "shm" },
    ]);
    expect(endpointsOf({ ports: new Map([[82, 1]]) })).to.deep.equal([]);
  });

  it("should deny what the pod is not known to back", function () {
    const ports = new Map([
      [80, 7],
      [81, 9090],
    ]);
    expect(endpointsOf({ ports })[0]?.ports?.[0]).to.deep.equal({
      port: 80,
      targetPort: 7,
      transport: "tcp",
      reason: "policy_denied",
    });
  });

  const strangers: [node: string, reason: FallbackReason][] = [
    ["here", "peer_not_injected"],
    [UNKNOWN_NODE, "peer_not_injected"],
    ["there", "other_node_no_fabric"],
  ];
  for (const [node, reason] of strangers) {
    it(`should reach what is no known pod over TCP, on node ${node} by ${reason}`, function () {
      // Its name is that of a pod: that alone makes it none.
      expect(endpointsOf({ isKnown: false, node })).to.deep.equal([
        { ...common, node, injected: false, transport: "tcp", reason },
      ]);
    });
  }
});
