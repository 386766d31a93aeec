import { expect } from "chai";

import { chooseSticky } from "../../../agent/affinity.ts";
import type { ServiceEndpoint } from "../../../agent/api.ts";

function endpoint(index: number, part: Partial<ServiceEndpoint> = {}): ServiceEndpoint {
  const address = `10.0.0.${index}`;
  return {
    pod: `pod-${index}`,
    address,
    node: "there",
    injected: false,
    transport: "tcp",
    reason: "other_node_no_fabric",
    ...part,
  };
}

const TEN = Array.from({ length: 10 }, (_, index) => endpoint(index));

describe("chooseSticky()", function () {
  it("should choose the same again, in whatever order endpoints come", function () {
    const chosen = chooseSticky("client", TEN, undefined);
    expect(chooseSticky("client", TEN.toReversed(), undefined)).to.equal(chosen);
  });

  it("should stay while the endpoint is there, whatever else comes", function () {
    const more = [...TEN, endpoint(10, { transport: "shm" })];
    expect(chooseSticky("client", more, "pod-3")?.pod).to.equal("pod-3");
  });

  it("should choose anew when the endpoint is gone", function () {
    expect(chooseSticky("client", TEN, "pod-77")).to.equal(chooseSticky("client", TEN, undefined));
  });

  it("should spread clients", function () {
    const chosen = Array.from({ length: 1000 }, (_, index) =>
      chooseSticky(`0b6f7c1e-0000-4000-8000-${index}`, TEN, undefined),
    );
    const counts = TEN.map((each) => chosen.filter((other) => other === each).length);
    expect(Math.min(...counts)).to.be.greaterThan(50);
    expect(Math.max(...counts)).to.be.lessThan(200);
  });

  it("should move few clients when an endpoint goes", function () {
    const clients = Array.from({ length: 1000 }, (_, index) => `client-${index}`);
    const nine = TEN.slice(1);
    const moved = clients.filter((client) => {
      const before = chooseSticky(client, TEN, undefined);
      return before !== TEN[0] && chooseSticky(client, nine, undefined) !== before;
    });
    expect(moved).to.deep.equal([]);
  });

  it("should prefer what shared memory reaches, by any port", function () {
    const near = endpoint(11, { ports: [{ port: 80, targetPort: 80, transport: "shm" }] });
    for (const client of ["a", "b", "c", "d"]) {
      expect(chooseSticky(client, [...TEN, near], undefined)).to.equal(near);
    }
  });

  it("should choose nothing of nothing", function () {
    expect(chooseSticky("client", [], "pod-1")).to.equal(undefined);
  });
});
