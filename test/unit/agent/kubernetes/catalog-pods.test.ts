import { expect } from "chai";

import type { CatalogPod } from "../../../../agent/catalog.ts";
import { CatalogPods } from "../../../../agent/kubernetes/catalog-pods.ts";
import type { KubernetesService } from "../../../../agent/kubernetes/service.ts";
import { SliceIndex } from "../../../../agent/kubernetes/slice-index.ts";
import { localPod, podMap, service, slice, uidOf, type SliceSketch } from "./fakes.ts";

const WEB = localPod({ name: "web" });
const UID = uidOf("web");

describe("CatalogPods", function () {
  let services: Map<string, KubernetesService>;
  let slices: SliceIndex;
  let pods: CatalogPods;

  function put(name: string, sketch: SliceSketch | undefined): void {
    slices.update(name, sketch === undefined ? undefined : slice(sketch));
  }

  function web(local = WEB): CatalogPod {
    pods.update(podMap(local), new Set([UID]));
    const pod = pods.snapshot().get(UID);
    if (pod === undefined) throw new Error("no pod");
    return pod;
  }

  function backed(): string[] {
    return web().backings.map((each) => `${each.service}:${each.port}`);
  }

  beforeEach(function () {
    services = new Map([["shop/orders", service()]]);
    slices = new SliceIndex();
    pods = new CatalogPods({ services, slices });
    put("orders-1", { endpoints: [{ address: "10.1.0.1", pod: "web" }] });
  });

  it("should make a pod with what it backs", function () {
    expect(web()).to.deep.equal({
      uid: UID,
      namespace: "shop",
      name: "web",
      node: "n1",
      addresses: ["10.1.0.1"],
      address: "10.1.0.1",
      identity: { kind: "pod" },
      injected: true,
      appPorts: [8080],
      services: ["shop/orders"],
      backings: [
        { service: "shop/orders", port: 8080, servicePorts: [{ name: "http", port: 80 }] },
      ],
    });
  });

  it("should have the ports of its services where it declares none", function () {
    expect(web(localPod({ name: "web", ports: [] })).appPorts).to.deep.equal([8080]);
  });

  const lies: [what: string, sketch: SliceSketch][] = [
    [
      "of another namespace",
      { namespace: "evil", endpoints: [{ address: "10.1.0.1", pod: "web" }] },
    ],
    ["with another address", { endpoints: [{ address: "10.1.0.2", pod: "web" }] }],
    ["that places it elsewhere", { endpoints: [{ address: "10.1.0.1", pod: "web", node: "n2" }] }],
    [
      "of a Service that does not exist",
      { service: "none", endpoints: [{ address: "10.1.0.1", pod: "web" }] },
    ],
    [
      "without a port of the Service",
      { ports: [{ name: "x", port: 22 }], endpoints: [{ address: "10.1.0.1", pod: "web" }] },
    ],
  ];
  for (const [what, sketch] of lies) {
    it(`should not believe a slice ${what}`, function () {
      services.set("evil/orders", service({ namespace: "evil" }));
      put("orders-1", undefined);
      put("lie", sketch);
      expect(backed()).to.deep.equal([]);
      expect(web().services).to.deep.equal([]);
    });
  }

  it("should keep what it backed once, and not say so (I1)", function () {
    expect(backed()).to.deep.equal(["shop/orders:8080"]);
    put("orders-1", undefined);
    expect(backed()).to.deep.equal(["shop/orders:8080"]);
    expect(web().services).to.deep.equal([]);
    put("orders-2", {
      ports: [{ name: "http", port: 81 }],
      endpoints: [{ address: "10.1.0.1", pod: "web" }],
    });
    expect(backed()).to.deep.equal(["shop/orders:81", "shop/orders:8080"]);
  });

  it("should forget everything with the pod", function () {
    web();
    expect([...pods.update(new Map(), new Set())]).to.deep.equal([UID]);
    put("orders-1", undefined);
    expect(backed()).to.deep.equal([]);
  });

  it("should bound what slices make of a pod, with those of now first", function () {
    for (let index = 0; index < 600; index++) {
      services.set(`shop/s${index}`, service({ name: `s${index}` }));
      put(`s${index}`, { service: `s${index}`, endpoints: [{ address: "10.1.0.1", pod: "web" }] });
    }
    expect(web().backings).to.have.length(512);
    for (let index = 0; index < 600; index++) put(`s${index}`, undefined);
    expect(web().backings).to.have.length(512);
    expect(backed()).to.include("shop/orders:8080");
  });

  it("should give the same object for a pod that did not change (I2)", function () {
    const before = web();
    expect(web()).to.equal(before);
    expect([...pods.update(podMap(WEB), new Set([UID]))]).to.deep.equal([]);
    const relabelled = localPod({ name: "web", labels: { a: "b" } });
    expect(
      [...pods.update(podMap(relabelled), new Set())],
      "labels are not the catalog's",
    ).to.deep.equal([]);
    const moved = localPod({ name: "web", sidecar: "none" });
    expect([...pods.update(podMap(moved), new Set())]).to.deep.equal([UID]);
  });
});
