import { expect } from "chai";

import type { CatalogPod, CatalogService, Catalog } from "../../../agent/catalog.ts";
import { decide, joinGrants, judge, withoutGrants } from "../../../agent/policy.ts";
import type { FallbackReason } from "../../../common/reasons.ts";
import { catalogOf } from "./fakes.ts";

const CATALOG = catalogOf(`
pods:
  - { name: web, address: 127.0.1.2 }
  - { name: client, address: 127.0.1.3 }
  - { name: bare, address: 127.0.1.4, injected: false }
  - { name: far, address: 10.0.0.1, node: there }
  - { name: far-stranger, namespace: other, address: 10.0.0.2, node: there }
  - { name: guest, namespace: other, address: 127.0.1.5 }
  - { name: stranger, namespace: other, address: 127.0.1.6 }
  - { name: banned, address: 127.0.1.7 }
  - { name: bare-banned, address: 127.0.1.8, injected: false }
services:
  - { name: orders, ports: [{ name: a, port: 80, targetPort: 8080 }, { name: b, port: 81, targetPort: 8080 }, { name: c, port: 82 }], pods: [web, bare, far] }
  - { name: extra, ports: [{ port: 9 }], pods: [web] }
connections:
  - { from: other/guest, to: orders }
  - { from: other/guest, to: default/extra }
deny:
  - { from: banned, to: orders }
  - { from: bare-banned, to: orders }
  - { from: other/guest, to: extra }
`);

function pod(uid: string, catalog: Catalog = CATALOG): CatalogPod {
  const found = catalog.pods.get(uid);
  if (found === undefined) throw new Error(`no pod ${uid}`);
  return found;
}

function orders(): CatalogService {
  const service = CATALOG.services.get("default/orders");
  if (service === undefined) throw new Error("no service");
  return service;
}

describe("decide()", function () {
  const table: [client: string, server: string, expected: FallbackReason | undefined][] = [
    ["default.client", "default.web", undefined],
    ["default.web", "default.web", "disabled"],
    ["default.client", "default.bare", "peer_not_injected"],
    ["default.bare", "default.web", "peer_not_injected"],
    ["default.client", "default.far", "other_node_no_fabric"],
    ["other.guest", "default.web", undefined],
    ["other.stranger", "default.web", "policy_denied"],
    ["default.banned", "default.web", "policy_denied"],
    // The first check that fails gives the reason.
    ["default.bare-banned", "default.web", "peer_not_injected"],
    ["other.far-stranger", "default.web", "policy_denied"],
  ];
  for (const [client, server, expected] of table) {
    it(`should answer ${expected ?? "shared memory"} from ${client} to ${server}`, function () {
      const question = {
        client: pod(client),
        server: pod(server),
        service: orders(),
        catalog: CATALOG,
      };
      expect(decide(question)).to.equal(expected);
    });
  }
});

describe("judge()", function () {
  it("should grant each target port of each service once, in order", function () {
    expect(judge(pod("default.client"), pod("default.web"), CATALOG)).to.deep.equal({
      grants: [
        { service: "default/extra", port: 9 },
        { service: "default/orders", port: 82 },
        { service: "default/orders", port: 8080 },
      ],
    });
  });

  it("should leave out the services denied", function () {
    const { grants } = judge(pod("other.guest"), pod("default.web"), CATALOG);
    expect(grants.map(({ service }) => service)).to.deep.equal([
      "default/orders",
      "default/orders",
    ]);
  });

  it("should give the reason when nothing is granted", function () {
    const verdict = judge(pod("other.stranger"), pod("default.web"), CATALOG);
    expect(verdict).to.deep.equal({ grants: [], reason: "policy_denied" });
  });

  it("should deny a pod behind no service", function () {
    const verdict = judge(pod("default.web"), pod("default.client"), CATALOG);
    expect(verdict).to.deep.equal({ grants: [], reason: "policy_denied" });
  });

  it("should grant no more than one message carries", function () {
    const services = Array.from(
      { length: 200 },
      (_, i) => `- { name: s${i}, ports: [{ port: 1 }], pods: [a] }`,
    );
    const catalog = catalogOf(
      `pods: [{ name: a, address: ::1 }, { name: b, address: ::1 }]\nservices:\n${services.join("\n")}`,
    );
    const { grants } = judge(pod("default.b", catalog), pod("default.a", catalog), catalog);
    expect(grants).to.have.length(128);
  });
});

describe("withoutGrants() and joinGrants()", function () {
  const [a, b, c] = [1, 2, 3].map((port) => ({ service: "x/y", port })) as [Grant, Grant, Grant];
  type Grant = { service: string; port: number };

  it("should compare by service and port", function () {
    expect(withoutGrants([a, b], [{ ...b }, c])).to.deep.equal([a]);
    expect(joinGrants([a, b], [{ ...b }, c])).to.deep.equal([a, b, c]);
  });
});
