import { expect } from "chai";

import { sliceTaker, unpackSlice } from "../../../../agent/kubernetes/endpoint-slice.ts";
import { rawSlice, slice, uidOf } from "./fakes.ts";

describe("sliceTaker() and unpackSlice()", function () {
  it("should keep what is looked at, and give it back", function () {
    const hints = { forZones: [{ name: "z1" }], forNodes: [{ name: "n1" }] };
    const kept = slice({
      endpoints: [
        { address: "10.1.0.1", pod: "a" },
        { address: "10.1.0.2", pod: "b", node: "n2", conditions: { ready: false }, hints },
        { address: "10.1.0.3", node: null, conditions: {} },
      ],
    });
    expect(kept).to.include({ service: "shop/orders", namespace: "shop", family: "IPv4" });
    expect(kept.localUids).to.deep.equal([uidOf("a")]);
    const ready = { isReady: true, isServing: true, isTerminating: false, zones: [], nodes: [] };
    expect(unpackSlice(kept)).to.deep.equal({
      ports: [{ name: "http", port: 8080 }],
      endpoints: [
        { address: "10.1.0.1", uid: uidOf("a"), node: "n1", ...ready },
        {
          address: "10.1.0.2",
          uid: uidOf("b"),
          node: "n2",
          isReady: false,
          isServing: false,
          isTerminating: false,
          zones: ["z1"],
          nodes: ["n1"],
        },
        { address: "10.1.0.3", uid: "", node: "unknown", ...ready },
      ],
    });
  });

  it("should keep a terminating endpoint that still serves as such", function () {
    const conditions = { ready: false, serving: true, terminating: true };
    const [endpoint] = unpackSlice(
      slice({ endpoints: [{ address: "10.1.0.1", conditions }] }),
    ).endpoints;
    expect(endpoint).to.include({ isReady: false, isServing: true, isTerminating: true });
  });

  it("should count a pod without a node as one that may be here", function () {
    const kept = slice({ endpoints: [{ address: "10.1.0.1", pod: "a", node: null }] });
    expect(kept.localUids).to.deep.equal([uidOf("a")]);
  });

  it("should leave out what nobody can connect to", function () {
    const kept = slice({
      ports: [{ name: "dns", port: 53, protocol: "UDP" }, { name: "any" }],
      endpoints: [{ address: "db.example.com" }],
    });
    expect(unpackSlice(kept)).to.deep.equal({ ports: [], endpoints: [] });
  });

  it("should take as a pod only what is said to be one", function () {
    const raw = rawSlice({ endpoints: [{ address: "10.1.0.1", pod: "a" }] });
    const [endpoint] = raw["endpoints"] as { targetRef: { kind: string } }[];
    if (endpoint !== undefined) endpoint.targetRef.kind = "Node";
    const kept = sliceTaker("n1")(raw);
    expect(kept?.localUids).to.deep.equal([]);
  });

  it("should leave out slices of no Service, and of names", function () {
    const take = sliceTaker("n1");
    const named = rawSlice({ addressType: "FQDN", endpoints: [] });
    expect(take(named)).to.equal(undefined);
    const orphan = { ...named, addressType: "IPv4", metadata: { name: "x", namespace: "shop" } };
    expect(take(orphan)).to.equal(undefined);
  });

  it("should take no more than 1,200 bytes for ten endpoints", function () {
    const endpoints = Array.from({ length: 10 }, (_, index) => ({
      address: `10.100.200.${index}`,
      pod: "00000000-0000-4000-8000-000000000000",
      node: "gke-cluster-pool-00000000-abcd",
    }));
    expect(slice({ endpoints }).text.length).to.be.lessThan(1200);
  });
});
