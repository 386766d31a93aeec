import { expect } from "chai";

import { takeLocalPod } from "../../../../agent/kubernetes/local-pod.ts";
import { localPod, rawPod, type PodSketch } from "./fakes.ts";

describe("takeLocalPod()", function () {
  it("should keep what is looked at", function () {
    const ports = [
      { name: "http", containerPort: 8080 },
      { name: "dns", containerPort: 53, protocol: "UDP" },
      { containerPort: 81 },
    ];
    expect(localPod({ name: "web-1", labels: { app: "web" }, ports })).to.deep.equal({
      uid: "uid-web-1",
      namespace: "shop",
      name: "web-1",
      node: "n1",
      addresses: ["10.1.0.1"],
      labels: { app: "web" },
      injected: true,
      hostNetwork: false,
      appPorts: [81, 8080],
      isOff: false,
      namedPorts: [
        { name: "shimmy-admin", port: 14_790, protocol: "TCP" },
        { name: "http", port: 8080, protocol: "TCP" },
        { name: "dns", port: 53, protocol: "UDP" },
      ],
      containers: ["app"],
    });
  });

  const injected: [what: string, sketch: Partial<PodSketch>, expected: boolean][] = [
    ["a native sidecar", { sidecar: "native" }, true],
    ["a sidecar as a container", { sidecar: "container" }, true],
    ["no sidecar", { sidecar: "none" }, false],
    [
      "no sidecar, whatever its labels say",
      { sidecar: "none", labels: { "shimmy.io/injected": "true", "shimmy.io/inject": "enabled" } },
      false,
    ],
    ["the host's network", { hostNetwork: true }, false],
  ];
  for (const [what, sketch, expected] of injected) {
    it(`should ${expected ? "" : "not "}take for injected a pod with ${what}`, function () {
      expect(localPod({ name: "a", ...sketch }).injected).to.equal(expected);
    });
  }

  it("should not take a container that ends for the sidecar", function () {
    const pod = rawPod({ name: "a", sidecar: "none" });
    const spec = pod["spec"] as { initContainers: object[] };
    spec.initContainers.push({ name: "shimmy-sidecar" });
    expect(takeLocalPod(pod)?.injected).to.equal(false);
  });

  const appPorts: [
    what: string,
    sketch: Partial<PodSketch>,
    expected: readonly number[] | undefined,
  ][] = [
    ["those the sidecar was told", { sidecarEnv: { SHIMMY_APP_PORTS: "9090,9091" } }, [9090, 9091]],
    ["those declared", { ports: [{ containerPort: 2 }, { containerPort: 1 }] }, [1, 2]],
    ["none of UDP", { ports: [{ containerPort: 53, protocol: "UDP" }] }, undefined],
    ["those of its services, when none is declared", { ports: [] }, undefined],
    [
      "those declared, when the sidecar was told nonsense",
      { sidecarEnv: { SHIMMY_APP_PORTS: "x" } },
      [8080],
    ],
  ];
  for (const [what, sketch, expected] of appPorts) {
    it(`should have as ports of the application ${what}`, function () {
      expect(localPod({ name: "a", ...sketch }).appPorts).to.deep.equal(expected);
    });
  }

  const caps: [cap: string, isOff: boolean][] = [
    ["auto", false],
    ["shm", false],
    ["tcp", true],
    ["rdma", true],
    ["TCP", true],
    ["", true],
  ];
  for (const [cap, isOff] of caps) {
    it(`should be ${isOff ? "off" : "on"} by the cap "${cap}", as annotation or variable`, function () {
      const annotations = { "shimmy.io/transport": cap };
      expect(localPod({ name: "a", annotations }).isOff).to.equal(isOff);
      const sidecarEnv = { SHIMMY_TRANSPORT: cap };
      expect(localPod({ name: "a", sidecarEnv }).isOff).to.equal(isOff);
    });
  }

  const left: [what: string, sketch: Partial<PodSketch>][] = [
    ["has no address yet", { address: "" }],
    ["has an address that is none", { address: "somewhere" }],
    ["has succeeded, and given its address back", { phase: "Succeeded" }],
    ["has failed, and given its address back", { phase: "Failed" }],
    ["has a name too long for messages", { name: "a".repeat(129) }],
  ];
  for (const [what, sketch] of left) {
    it(`should leave out a pod that ${what}`, function () {
      expect(takeLocalPod(rawPod({ name: "a", ...sketch }))).to.equal(undefined);
    });
  }
});
