import { expect } from "chai";

import type { CatalogPod } from "../../../../agent/catalog.ts";
import { takeGrants } from "../../../../agent/kubernetes/connection-grants.ts";
import { KubernetesTopicRules } from "../../../../agent/kubernetes/topic-grants.ts";
import type { KubernetesObject } from "../../../../common/kubernetes/objects.ts";
import { localPod, podMap } from "./fakes.ts";

const TOPIC = { namespace: "market", name: "prices" };
const ROLES = {
  publishers: { podSelector: { matchLabels: { app: "feed" } } },
  subscribers: { containers: ["app"], allowedNamespaces: ["desk"] },
};

function object(spec: object, metadata: object = {}): KubernetesObject {
  const usual = { name: "prices", namespace: "market", uid: "u", resourceVersion: "1" };
  return { metadata: { ...usual, ...metadata }, ...{ spec } };
}

const PODS = podMap(
  localPod({ name: "feed", namespace: "market", labels: { app: "feed" } }),
  localPod({ name: "plain", namespace: "market" }),
  localPod({ name: "trader", namespace: "desk" }),
  localPod({ name: "feed-2", namespace: "desk", labels: { app: "feed" } }),
  localPod({ name: "stranger", namespace: "elsewhere" }),
);

function pod(name: string): CatalogPod {
  const { uid, namespace } = [...PODS.values()].find((each) => each.name === name) ?? {};
  return { uid, namespace } as CatalogPod;
}

function rules(...objects: readonly KubernetesObject[]): KubernetesTopicRules {
  const channels = objects.flatMap((each) => takeGrants(each)?.channel ?? []);
  return new KubernetesTopicRules({ channels, pods: PODS });
}

describe("KubernetesTopicRules", function () {
  const topics = rules(object({ type: "PubSub", ...ROLES }));
  const table: [pod: string, side: "writer" | "reader", expected: string | undefined][] = [
    ["feed", "writer", undefined],
    ["feed", "reader", undefined],
    ["plain", "writer", "no_role"],
    ["plain", "reader", undefined],
    ["trader", "reader", undefined],
    // The namespace is allowed to read, whatever labels its pods have.
    ["feed-2", "writer", "other_namespace"],
    ["stranger", "reader", "other_namespace"],
  ];
  for (const [name, side, expected] of table) {
    it(`should say ${expected ?? "yes"} to ${name} as a ${side}`, function () {
      expect(topics.check(pod(name), TOPIC, side)).to.equal(expected);
    });
  }

  it("should know no topic that no object declares", function () {
    const other = { namespace: "market", name: "volumes" };
    expect(topics.check(pod("feed"), other, "writer")).to.equal("not_declared");
    expect(topics.check(pod("trader"), other, "reader")).to.equal("other_namespace");
    expect(topics.checkOwner(pod("feed"), other)).to.equal("not_declared");
    expect(topics.declared(other)).to.equal(undefined);
  });

  it("should know no pod that is not of this node", function () {
    const gone = { ...pod("feed"), uid: "gone" };
    expect(topics.check(gone, TOPIC, "writer")).to.equal("no_role");
  });

  it("should let pods with a role in their own namespace's topic make it", function () {
    expect(topics.checkOwner(pod("feed"), TOPIC)).to.equal(undefined);
    expect(topics.checkOwner(pod("trader"), TOPIC)).to.equal("other_namespace");
  });

  it("should not let an object declare a topic of another namespace", function () {
    const squatting = rules(object({ type: "PubSub", ...ROLES }, { namespace: "desk" }));
    expect(squatting.check(pod("feed"), TOPIC, "writer")).to.equal("not_declared");
  });

  it("should declare channels with the object's sizes and defaults", function () {
    expect(topics.declared(TOPIC)).to.include({ kind: "lockfree", readers: 1, timeToLiveMs: 1000 });
    const capacity = { blocks: 16, blockBytes: 128 };
    const times = { readers: 3, timeToLiveMilliseconds: 50 };
    expect(
      rules(object({ type: "PubSub", ...ROLES, capacity, ...times })).declared(TOPIC),
    ).to.include({ blocks: 16, blockBytes: 128, readers: 3, timeToLiveMs: 50 });
    expect(rules(object({ type: "Stream", ...ROLES })).declared(TOPIC)).to.include({
      kind: "lock",
      blocks: 64,
      blockBytes: 4096,
    });
  });

  it("should give a channel the same id as long as object and sizes are the same", function () {
    const idOf = (spec: object, metadata?: object): string | undefined =>
      rules(object({ type: "Stream", ...ROLES, ...spec }, metadata)).idOf(TOPIC);
    const id = idOf({});
    expect(id).to.match(/^[1-9]\d{0,19}$/);
    expect(idOf({ capacity: { blocks: 64 } })).to.equal(id);
    expect(idOf({ capacity: { blocks: 65 } })).to.not.equal(id);
    expect(idOf({}, { uid: "another" })).to.not.equal(id);
  });

  it("should not count an object that is being deleted", function () {
    const going = object(
      { type: "Stream", ...ROLES },
      { deletionTimestamp: "2026-01-01T00:00:00Z" },
    );
    expect(rules(going).check(pod("feed"), TOPIC, "writer")).to.equal("not_declared");
  });
});
