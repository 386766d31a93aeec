import { expect } from "chai";

import type { Backing } from "../../../../agent/catalog.ts";
import { ConnectionGrants, takeGrants } from "../../../../agent/kubernetes/connection-grants.ts";
import type { KubernetesObject } from "../../../../common/kubernetes/objects.ts";
import { localPod } from "./fakes.ts";

const BACKING: Backing = {
  service: "shop/orders",
  port: 8080,
  servicePorts: [
    { name: "http", port: 80 },
    { name: "", port: 81 },
  ],
};

function object(connections: readonly object[], metadata: object = {}): KubernetesObject {
  const usual = { name: "grants", namespace: "shop", uid: "u", resourceVersion: "1" };
  return { metadata: { ...usual, ...metadata }, ...{ spec: { connections } } };
}

function allow(connection: object, metadata: object = {}): boolean {
  const taken = takeGrants(object([connection], metadata));
  const client = localPod({ name: "c", namespace: "web", labels: { app: "front" } });
  return new ConnectionGrants(taken === undefined ? [] : [taken]).allow(client, BACKING);
}

const WEB = { service: "orders", namespaces: ["web"] };

describe("ConnectionGrants#allow()", function () {
  const table: [what: string, connection: object, expected: boolean][] = [
    ["a namespace named", WEB, true],
    ["another namespace", { ...WEB, namespaces: ["other"] }, false],
    ["another service", { ...WEB, service: "other" }, false],
    ["a pod selected", { ...WEB, podSelector: { matchLabels: { app: "front" } } }, true],
    ["another pod selected", { ...WEB, podSelector: { matchLabels: { app: "back" } } }, false],
    ["a port by number", { ...WEB, ports: ["80"] }, true],
    ["a port by name", { ...WEB, ports: ["http"] }, true],
    ["one of the ports that lead there", { ...WEB, ports: ["81"] }, true],
    ["another port", { ...WEB, ports: ["82"] }, false],
    ["the target port, which is not the service's", { ...WEB, ports: ["8080"] }, false],
  ];
  for (const [what, connection, expected] of table) {
    it(`should ${expected ? "allow" : "not allow"} ${what}`, function () {
      expect(allow(connection)).to.equal(expected);
    });
  }

  it("should ask objects of the server's namespace only", function () {
    expect(allow(WEB, { namespace: "web" })).to.equal(false);
  });

  it("should not count an object that is being deleted", function () {
    expect(allow(WEB, { deletionTimestamp: "2026-01-01T00:00:00Z" })).to.equal(false);
  });
});

describe("takeGrants()", function () {
  it("should keep nothing of an object that grants no connections", function () {
    expect(takeGrants(object([]))).to.equal(undefined);
  });

  it("should refuse an object with an empty selector, which would mean everybody", function () {
    expect(() => takeGrants(object([{ ...WEB, podSelector: {} }])))
      .to.throw(/selector must not be empty/)
      .with.property("code", "SHIMMY_ERR_KUBERNETES_API");
  });
});
