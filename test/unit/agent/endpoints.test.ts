import { expect } from "chai";

import { endpointsFor } from "../../../agent/endpoints.ts";
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
