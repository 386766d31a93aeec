import { expect } from "chai";

import { service } from "./fakes.ts";

describe("takeService()", function () {
  it("should keep TCP ports, with target ports where they are numbers", function () {
    const ports = [
      { name: "http", port: 80, targetPort: "web" },
      { name: "same", port: 81 },
      { name: "dns", port: 53, protocol: "UDP" },
      { name: "other", port: 82, targetPort: 8082, protocol: "TCP" },
    ];
    expect(service({ spec: { ports } })).to.deep.equal({
      key: "shop/orders",
      namespace: "shop",
      ports: [
        { name: "http", port: 80, targetPort: undefined },
        { name: "same", port: 81, targetPort: 81 },
        { name: "other", port: 82, targetPort: 8082 },
      ],
      family: "IPv4",
      isSticky: false,
      isNodeLocal: false,
      problem: undefined,
    });
  });

  const settings: [what: string, spec: object, expected: object][] = [
    ["affinity", { sessionAffinity: "ClientIP" }, { isSticky: true, isNodeLocal: false }],
    ["no affinity", { sessionAffinity: "None" }, { isSticky: false }],
    ["internal policy", { internalTrafficPolicy: "Local" }, { isNodeLocal: true, isSticky: false }],
    ["no internal policy", { internalTrafficPolicy: "Cluster" }, { isNodeLocal: false }],
    [
      "neither of them where there is no virtual address",
      { clusterIP: "None", sessionAffinity: "ClientIP", internalTrafficPolicy: "Local" },
      { isSticky: false, isNodeLocal: false, problem: undefined },
    ],
    ["the family of addresses", { ipFamilies: ["IPv6", "IPv4"] }, { family: "IPv6" }],
    ["no family", { ipFamilies: undefined }, { family: undefined }],
  ];
  for (const [what, spec, expected] of settings) {
    it(`should keep ${what}`, function () {
      expect(service({ spec })).to.include(expected);
    });
  }

  const problems: [spec: object, problem: string][] = [
    [
      { type: "ExternalName", externalName: "db.example.com", ports: undefined },
      "service shop/orders is of type ExternalName and has no pods: the application is to call db.example.com itself",
    ],
    [
      { type: "ExternalName", externalName: "db.example.com" },
      "service shop/orders is of type ExternalName and has no pods: the application is to call db.example.com itself",
    ],
    [{ clusterIP: "None", ports: undefined }, "service shop/orders has no TCP ports"],
    [{ ports: [{ port: 53, protocol: "UDP" }] }, "service shop/orders has no TCP ports"],
  ];
  for (const [spec, problem] of problems) {
    it(`should say of ${JSON.stringify(spec)}: ${problem}`, function () {
      expect(service({ spec }).problem).to.equal(problem);
    });
  }
});
