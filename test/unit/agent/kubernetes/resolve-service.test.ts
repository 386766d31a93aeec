import { expect } from "chai";

import { resolveService } from "../../../../agent/kubernetes/resolve-service.ts";
import type { PackedSlice } from "../../../../agent/kubernetes/endpoint-slice.ts";
import type { LocalPod } from "../../../../agent/kubernetes/local-pod.ts";
import type { CatalogEndpoint, CatalogService } from "../../../../agent/catalog.ts";
import { localPod, podMap, service, slice, uidOf, type SliceSketch } from "./fakes.ts";

const WEB = localPod({ name: "web", address: "10.1.0.1" });
const FOREIGN = localPod({ name: "secret", namespace: "vault", address: "10.1.0.9" });

function resolve(
  slices: readonly (SliceSketch | PackedSlice)[],
  { spec = {}, pods = [WEB, FOREIGN] }: { spec?: object; pods?: readonly LocalPod[] } = {},
): CatalogService {
  const packed = slices.map((each) => ("text" in each ? each : slice(each)));
  const place = { node: "n1", zone: undefined };
  return resolveService(service({ spec }), packed, { ...place, pods: podMap(...pods) });
}

/** The only endpoint of a Service with one. */
function only(sketch: SliceSketch["endpoints"][number]): CatalogEndpoint {
  const [endpoint] = resolve([{ endpoints: [sketch] }]).endpoints;
  if (endpoint === undefined) throw new Error("no endpoint");
  return endpoint;
}

describe("resolveService()", function () {
  it("should know a pod of this node by UID and address", function () {
    expect(resolve([{ endpoints: [{ address: "10.1.0.1", pod: "web" }] }])).to.deep.equal({
      key: "shop/orders",
      namespace: "shop",
      isSticky: false,
      ports: [{ name: "http", port: 80, targetPort: 8080 }],
      endpoints: [
        {
          pod: uidOf("web"),
          isKnown: true,
          address: "10.1.0.1",
          node: "n1",
          ports: new Map([[80, 8080]]),
        },
      ],
    });
  });

  describe("endpoints as tenants may write them (I1)", function () {
    it("should not take for a pod who has its UID and another address", function () {
      const endpoint = only({ address: "10.1.0.66", pod: "web" });
      expect(endpoint).to.include({ isKnown: false, pod: "ip-10.1.0.66", address: "10.1.0.66" });
    });

    it("should not take for a pod who has its address and another UID", function () {
      expect(only({ address: "10.1.0.1", pod: "other" })).to.include({
        isKnown: false,
        pod: "ip-10.1.0.1",
      });
    });

    it("should not take for a pod who has its UID on another node and not its address", function () {
      expect(only({ address: "10.2.0.1", pod: "web", node: "n2" })).to.include({
        isKnown: false,
        pod: "ip-10.2.0.1",
        node: "n2",
      });
    });

    it("should know another namespace's pod as what it is, for policy to deny it", function () {
      expect(only({ address: "10.1.0.9", pod: "secret" })).to.include({
        isKnown: true,
        pod: uidOf("secret"),
      });
    });

    it("should name what is no pod by its address", function () {
      expect(only({ address: "192.0.2.7", node: null })).to.include({
        isKnown: false,
        pod: "ip-192.0.2.7",
        node: "unknown",
      });
    });
  });

  it("should name pods of other nodes as their slices do", function () {
    expect(only({ address: "10.2.0.1", pod: "far", node: "n2" })).to.include({
      isKnown: false,
      pod: uidOf("far"),
      node: "n2",
    });
  });

  it("should have target ports that differ from pod to pod, and the usual one for the port", function () {
    const { ports, endpoints } = resolve([
      { name: "a", endpoints: [{ address: "10.1.0.1", pod: "web" }] },
      {
        name: "b",
        ports: [{ name: "http", port: 9090 }],
        endpoints: [{ address: "10.2.0.1" }, { address: "10.2.0.2" }],
      },
    ]);
    expect(ports).to.deep.equal([{ name: "http", port: 80, targetPort: 9090 }]);
    expect(endpoints.map(({ address, ports: own }) => [address, own.get(80)])).to.deep.equal([
      ["10.1.0.1", 8080],
      ["10.2.0.1", 9090],
      ["10.2.0.2", 9090],
    ]);
  });

  it("should say which ports an endpoint does not serve", function () {
    const spec = {
      ports: [
        { name: "http", port: 80, targetPort: "web" },
        { name: "admin", port: 81, targetPort: "admin" },
      ],
    };
    const { ports, endpoints } = resolve(
      [
        { name: "a", endpoints: [{ address: "10.1.0.1" }] },
        {
          name: "b",
          ports: [
            { name: "http", port: 8080 },
            { name: "admin", port: 9000 },
          ],
          endpoints: [{ address: "10.1.0.2" }],
        },
      ],
      { spec },
    );
    expect(endpoints.map(({ ports: own }) => [...own.keys()])).to.deep.equal([[80], [80, 81]]);
    expect(ports.map(({ targetPort }) => targetPort)).to.deep.equal([8080, 9000]);
  });

  it("should put an endpoint of several slices together", function () {
    const spec = {
      ports: [
        { name: "http", port: 80 },
        { name: "admin", port: 81 },
      ],
    };
    const endpoints = [{ address: "10.1.0.1", pod: "web" }];
    const { endpoints: merged } = resolve(
      [
        { name: "a", endpoints },
        { name: "b", ports: [{ name: "admin", port: 9000 }], endpoints },
      ],
      { spec },
    );
    expect(merged).to.have.length(1);
    expect([...(merged[0]?.ports ?? [])]).to.deep.equal([
      [80, 8080],
      [81, 9000],
    ]);
  });

  it("should take one family of addresses, the Service's first", function () {
    const slices: SliceSketch[] = [
      { name: "four", endpoints: [{ address: "10.1.0.1" }] },
      { name: "six", addressType: "IPv6", endpoints: [{ address: "fd00::1" }] },
    ];
    const addresses = (spec: object, from = slices): string[] =>
      resolve(from, { spec }).endpoints.map(({ address }) => address);
    expect(addresses({ ipFamilies: ["IPv6", "IPv4"] })).to.deep.equal(["fd00::1"]);
    expect(addresses({ ipFamilies: ["IPv4"] })).to.deep.equal(["10.1.0.1"]);
    expect(addresses({ ipFamilies: undefined })).to.deep.equal(["10.1.0.1"]);
    expect(addresses({ ipFamilies: ["IPv4"] }, slices.slice(1))).to.deep.equal(["fd00::1"]);
    expect(resolve(slices, { spec: { ipFamilies: ["IPv6"] } }).endpoints[0]?.pod).to.equal(
      "ip-fd00--1",
    );
  });

  it("should give the same whatever order slices come in (I2)", function () {
    const slices: SliceSketch[] = ["10.1.0.3", "10.1.0.1", "10.1.0.2"].map((address) => ({
      name: address,
      endpoints: [{ address }],
    }));
    expect(resolve(slices)).to.deep.equal(resolve(slices.toReversed()));
  });

  it("should have target ports of the Service when there are no endpoints", function () {
    const spec = {
      ports: [
        { name: "http", port: 80, targetPort: 8080 },
        { name: "n", port: 81, targetPort: "n" },
      ],
    };
    const { ports, endpoints, problem } = resolve([], { spec });
    expect(ports.map(({ targetPort }) => targetPort)).to.deep.equal([8080, 81]);
    expect([endpoints, problem]).to.deep.equal([[], undefined]);
  });

  it("should call nothing of a Service that cannot be called", function () {
    const { endpoints, problem } = resolve([{ endpoints: [{ address: "10.1.0.1" }] }], {
      spec: { type: "ExternalName", externalName: "a.b" },
    });
    expect(endpoints).to.deep.equal([]);
    expect(problem).to.match(/ExternalName/);
  });
});
