import { expect } from "chai";

import { ServiceResolver } from "../../../../agent/kubernetes/service-resolver.ts";
import { SliceIndex } from "../../../../agent/kubernetes/slice-index.ts";
import { service, slice, uidOf } from "./fakes.ts";

const KEY = "shop/orders";

describe("ServiceResolver", function () {
  let slices: SliceIndex;
  let resolver: ServiceResolver;

  beforeEach(function () {
    slices = new SliceIndex();
    slices.update("shop/a", slice({ endpoints: [{ address: "10.1.0.1" }] }));
    resolver = new ServiceResolver({
      services: new Map([[KEY, service()]]),
      slices,
      surroundings: () => ({ pods: new Map(), node: "n1", zone: undefined }),
    });
  });

  it("should give the same object until it is told to forget it", function () {
    const first = resolver.get(KEY);
    slices.update("shop/b", slice({ endpoints: [{ address: "10.1.0.2" }] }));
    expect(resolver.get(KEY)).to.equal(first);
    resolver.forget([KEY]);
    expect(resolver.get(KEY)?.endpoints).to.have.length(2);
    resolver.forgetAll();
    expect(resolver.get(KEY)).to.deep.equal(resolver.get(KEY));
  });

  it("should say whether somebody was given what is forgotten (I1)", function () {
    expect(resolver.forget([KEY])).to.equal(false);
    resolver.get(KEY);
    expect(resolver.forget(["shop/other", KEY])).to.equal(true);
    expect(resolver.forget([KEY])).to.equal(false);
  });

  it("should have nothing of a Service that does not exist, slices or not", function () {
    slices.update("shop/c", slice({ service: "ghost", endpoints: [{ address: "10.1.0.1" }] }));
    expect(resolver.get("shop/ghost")).to.equal(undefined);
    expect(resolver.size).to.equal(1);
  });
});

describe("SliceIndex#update()", function () {
  it("should say whose endpoints are others, and nothing of what did not change", function () {
    const slices = new SliceIndex();
    const one = slice({ endpoints: [{ address: "10.1.0.1", pod: "a" }] });
    expect([...slices.update("s", one).services]).to.deep.equal([KEY]);
    expect(slices.update("s", { ...one }).services.size, "the same again").to.equal(0);
    const two = slice({ service: "quotes", endpoints: [{ address: "10.1.0.1", pod: "b" }] });
    const change = slices.update("s", two);
    expect([...change.services].sort()).to.deep.equal([KEY, "shop/quotes"]);
    expect([...change.uids].sort()).to.deep.equal([uidOf("a"), uidOf("b")]);
    expect(slices.of(KEY)).to.deep.equal([]);
    expect(slices.naming(uidOf("a"))).to.deep.equal([]);
    expect(slices.naming(uidOf("b"))).to.deep.equal([two]);
    expect([...slices.update("s", undefined).uids]).to.deep.equal([uidOf("b")]);
    expect(slices.update("s", undefined).services.size, "gone already").to.equal(0);
    expect(slices.of("shop/quotes")).to.deep.equal([]);
  });
});
