import { expect } from "chai";

import type { Backing, CatalogPod } from "../../../../agent/catalog.ts";
import type { PolicyReason } from "../../../../agent/catalog-rules.ts";
import type { LocalPod } from "../../../../agent/kubernetes/local-pod.ts";
import { KubernetesRules, type RuleSources } from "../../../../agent/kubernetes/rules.ts";
import { localPod, podMap, type PodSketch } from "./fakes.ts";

const BACKING: Backing = {
  service: "shop/orders",
  port: 8080,
  servicePorts: [{ name: "http", port: 80 }],
};

function catalogPod({ uid, namespace, name, node, addresses }: LocalPod): CatalogPod {
  return {
    uid,
    namespace,
    name,
    node,
    addresses,
    address: addresses[0] ?? "",
    identity: { kind: "pod" },
    injected: true,
    appPorts: [8080],
    services: [],
    backings: [BACKING],
  };
}

/** What is decided from a client to a server, under rules that allow everything else. */
function check(
  { client = {}, server = {} }: { client?: Partial<PodSketch>; server?: Partial<PodSketch> },
  sources: Partial<RuleSources> = {},
  backing = BACKING,
): PolicyReason | undefined {
  const [from, to] = [localPod({ name: "c", ...client }), localPod({ name: "s", ...server })];
  return new KubernetesRules(rulesFor(podMap(from, to), sources)).check({
    client: catalogPod(from),
    server: catalogPod(to),
    backing,
  });
}

function rulesFor(pods: Map<string, LocalPod>, sources: Partial<RuleSources>): RuleSources {
  return {
    pods,
    grants: { allow: () => false },
    judgeNetwork: () => "allowed",
    isForeign: () => false,
    isClusterOff: false,
    namespacesOff: new Set(),
    isStale: false,
    ...sources,
  };
}

describe("KubernetesRules#check()", function () {
  const granted: Partial<RuleSources> = { grants: { allow: () => true } };
  const denied: Partial<RuleSources> = { judgeNetwork: () => "denied" };
  const unknown: Partial<RuleSources> = { judgeNetwork: () => "unknown" };
  const foreign: Partial<RuleSources> = { isForeign: () => true };
  const guest = { client: { namespace: "web" } };
  const table: [
    what: string,
    pods: Parameters<typeof check>[0],
    sources: Partial<RuleSources>,
    expected: PolicyReason | undefined,
  ][] = [
    ["pods of one namespace", {}, {}, undefined],
    ["pods of two namespaces", guest, {}, "policy_denied"],
    ["pods of two namespaces with a grant", guest, granted, undefined],
    ["what the network denies", {}, denied, "policy_denied"],
    ["what the network denies, grant or not", guest, { ...granted, ...denied }, "policy_denied"],
    ["what the network may deny", {}, unknown, "policy_unknown"],
    ["what a foreign kind may deny", {}, foreign, "policy_unknown"],
    [
      "what the network denies, foreign kinds or not",
      {},
      { ...foreign, ...denied },
      "policy_denied",
    ],
    ["no grant, whatever the network may deny", guest, unknown, "policy_denied"],
    [
      "another namespace's pod behind a slice of one's own",
      { client: { namespace: "shop" }, server: { namespace: "vault" } },
      granted,
      "policy_denied",
    ],
  ];
  for (const [what, pods, sources, expected] of table) {
    it(`should answer ${expected ?? "shared memory"} to ${what}`, function () {
      expect(check(pods, sources)).to.equal(expected);
    });
  }

  it("should not answer for pods that it does not know (I1)", function () {
    const [from, to] = [localPod({ name: "c" }), localPod({ name: "s" })];
    const rules = new KubernetesRules(rulesFor(podMap(from), {}));
    const question = { client: catalogPod(from), server: catalogPod(to), backing: BACKING };
    expect(rules.check(question)).to.equal("policy_unknown");
  });

  it("should ask the engine for the target port, once for each answer", function () {
    const [from, to] = [localPod({ name: "c" }), localPod({ name: "s" })];
    const asked: unknown[] = [];
    const judgeNetwork: RuleSources["judgeNetwork"] = (client, server, port) => {
      asked.push([client.name, server.name, port]);
      return "allowed";
    };
    const rules = new KubernetesRules(rulesFor(podMap(from, to), { judgeNetwork }));
    const question = { client: catalogPod(from), server: catalogPod(to), backing: BACKING };
    for (let i = 0; i < 3; i++) rules.check(question);
    rules.check({ ...question, backing: { ...BACKING, port: 9090 } });
    expect(asked).to.deep.equal([
      ["c", "s", 8080],
      ["c", "s", 9090],
    ]);
  });
});

describe("KubernetesRules#isOff()", function () {
  const table: [
    what: string,
    sketch: Partial<PodSketch>,
    sources: Partial<RuleSources>,
    isOff: boolean,
  ][] = [
    ["nobody", {}, {}, false],
    ["the pod", { annotations: { "shimmy.io/transport": "tcp" } }, {}, true],
    ["its namespace", {}, { namespacesOff: new Set(["shop"]) }, true],
    ["another namespace", {}, { namespacesOff: new Set(["web"]) }, false],
    ["the cluster", {}, { isClusterOff: true }, true],
  ];
  for (const [what, sketch, sources, isOff] of table) {
    it(`should be ${isOff ? "off" : "on"} when ${what} says so`, function () {
      const pod = localPod({ name: "a", ...sketch });
      expect(new KubernetesRules(rulesFor(podMap(pod), sources)).isOff(catalogPod(pod))).to.equal(
        isOff,
      );
    });
  }
});
