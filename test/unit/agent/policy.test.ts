import { expect } from "chai";

import type { Backing, Catalog, CatalogPod } from "../../../agent/catalog.ts";
import type { ConnectionRules } from "../../../agent/catalog-rules.ts";
import {
  decide,
  joinGrants,
  judge,
  withoutGrants,
  type Purpose,
  type Verdict,
} from "../../../agent/policy.ts";
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

const ORDERS: Backing = { service: "default/orders", port: 8080, servicePorts: [] };

/** Between a client and a server of one namespace, on one node, under other rules. */
function decideBy(
  rules: Partial<ConnectionRules>,
  purpose: Purpose,
  backing = ORDERS,
): FallbackReason | undefined {
  const usual: ConnectionRules = { isStale: false, isOff: () => false, check: () => undefined };
  const catalog = { ...CATALOG, rules: { ...usual, ...rules } };
  const [client, server] = [pod("default.client"), pod("default.web")];
  return decide({ client, server, backing, catalog }, purpose);
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
        backing: ORDERS,
        catalog: CATALOG,
      };
      expect(decide(question, "new")).to.equal(expected);
      expect(decide(question, "held")).to.equal(expected);
    });
  }

  it("should switch new connections off by either pod, and leave sessions alone", function () {
    for (const name of ["client", "web"]) {
      const isOff = ({ uid }: CatalogPod): boolean => uid === `default.${name}`;
      expect(decideBy({ isOff }, "new")).to.equal("disabled");
      expect(decideBy({ isOff }, "held")).to.equal(undefined);
    }
  });

  it("should grant nothing new by rules that are old, and leave sessions alone", function () {
    expect(decideBy({ isStale: true }, "new")).to.equal("policy_unknown");
    expect(decideBy({ isStale: true }, "held")).to.equal(undefined);
  });

  for (const reason of ["policy_denied", "policy_unknown"] as const) {
    it(`should take everything away by ${reason}`, function () {
      expect(decideBy({ check: () => reason }, "new")).to.equal(reason);
      expect(decideBy({ check: () => reason, isStale: true }, "held")).to.equal(reason);
    });
  }

  it("should refuse a port that the server's sidecar does not deliver to", function () {
    expect(decideBy({}, "new", { ...ORDERS, port: 9999 })).to.equal("peer_refused");
  });
});

describe("judge()", function () {
  function judgeNew(client: string, server: string, catalog = CATALOG): Verdict {
    const question = { client: pod(client, catalog), server: pod(server, catalog) };
    return judge(question, catalog, "new");
  }

  it("should grant each target port of each service once, in order", function () {
    expect(judgeNew("default.client", "default.web")).to.deep.equal({
      grants: [
        { service: "default/extra", port: 9 },
        { service: "default/orders", port: 82 },
        { service: "default/orders", port: 8080 },
      ],
    });
  });

  it("should leave out the services denied", function () {
    const { grants } = judgeNew("other.guest", "default.web");
    expect(grants.map(({ service }) => service)).to.deep.equal([
      "default/orders",
      "default/orders",
    ]);
  });

  it("should give the reason when nothing is granted", function () {
    const verdict = judgeNew("other.stranger", "default.web");
    expect(verdict).to.deep.equal({ grants: [], reason: "policy_denied" });
  });

  it("should deny a pod behind no service", function () {
    const verdict = judgeNew("default.web", "default.client");
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
    const { grants } = judgeNew("default.b", "default.a", catalog);
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
