import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { MAX_ATTACHMENTS } from "../../../common/kubernetes/shimmy-node-schema.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { CONDITION_REASONS } from "../../../master/conditions.ts";
import { makePlan, type Plan } from "../../../master/plan.ts";
import type { FoundObject, MasterPod } from "../../../master/world.ts";
import { object, pod, world, type PodSketch } from "./fakes.ts";

const NOW = new Date("2026-02-03T04:05:06.789Z");
const CHANNEL = {
  type: "Stream",
  publishers: { containers: ["feed"] },
  subscribers: { podSelector: { matchLabels: { app: "trader" } } },
};

function plan(objects: readonly FoundObject[], pods: readonly MasterPod[]): Plan {
  return makePlan(world(objects, pods), NOW);
}

/** Attachments of a node, as `role pod object [containers]`. */
function attached(of: Plan, node = "n1"): string[] {
  return (of.nodes.get(node) ?? []).map(
    ({ role, pod: { namespace, name }, object: { name: channel }, containers }) =>
      `${role} ${namespace}/${name} ${channel}${containers === undefined ? "" : ` ${containers.join()}`}`,
  );
}

/** Conditions of an object, as `Type=Status reason`. */
function conditions(of: Plan, key = "market/prices"): string[] {
  const found = of.statuses.get(key)?.conditions ?? [];
  return found.map(({ type, status, reason }) => `${type}=${status} ${reason}`);
}

describe("makePlan()", function () {
  const feed = pod({ name: "feed-1", containers: ["feed", "logs"] });
  const trader = pod({ name: "trader-1", labels: { app: "trader" }, node: "n2" });

  it("should attach pods by container name and by labels, each on its node", function () {
    const made = plan([object("prices", CHANNEL)], [feed, trader]);
    expect(attached(made)).to.deep.equal(["publisher market/feed-1 prices feed"]);
    expect(attached(made, "n2")).to.deep.equal(["subscriber market/trader-1 prices"]);
    expect(made.attachments).to.equal(2);
    expect(made.statuses.get("market/prices")).to.deep.include({
      observedGeneration: 3,
      publishers: 1,
      subscribers: 1,
      nodes: 2,
    });
    expect(conditions(made)).to.deep.equal([
      "Ready=False OtherNodes",
      "Accepted=True Valid",
      "Supported=False OtherNodes",
      "Attached=True Attached",
    ]);
  });

  it("should be ready on one node, in one direction", function () {
    const near = pod({ name: "trader-1", labels: { app: "trader" } });
    expect(conditions(plan([object("prices", CHANNEL)], [feed, near]))).to.deep.equal([
      "Ready=True Ready",
      "Accepted=True Valid",
      "Supported=True Supported",
      "Attached=True Attached",
    ]);
    const both = plan([object("prices", { ...CHANNEL, duplex: true })], [feed, near]);
    expect(conditions(both)).to.include("Ready=False DuplexUnavailable");
  });

  it("should name objects and pods by their uids", function () {
    const made = plan([object("prices", CHANNEL)], [feed]);
    expect(made.nodes.get("n1")?.[0]).to.deep.include({
      object: { namespace: "market", name: "prices", uid: "uid-prices" },
      pod: { namespace: "market", name: "feed-1", uid: "uid-feed-1" },
    });
  });

  const lonely: [string, PodSketch, boolean][] = [
    ["with a native sidecar", { name: "p" }, true],
    ["with a sidecar among its containers", { name: "p", sidecar: "container" }, true],
    ["without a sidecar", { name: "p", sidecar: "none" }, false],
    ["without a node", { name: "p", node: null }, false],
    ["that is not running yet", { name: "p", phase: "Pending" }, true],
    ["that is done", { name: "p", phase: "Succeeded" }, false],
    ["that failed", { name: "p", phase: "Failed" }, false],
    ["of another namespace", { name: "p", namespace: "other" }, false],
    ["of an allowed namespace", { name: "p", namespace: "desk" }, true],
    ["with another container", { name: "p", containers: ["web"] }, false],
    ["with another label", { name: "p", labels: { app: "web" } }, false],
  ];
  for (const [what, sketch, isAttached] of lonely) {
    it(`should ${isAttached ? "attach" : "leave out"} a pod ${what}`, function () {
      const publishers = {
        containers: ["app"],
        podSelector: { matchLabels: { app: "feed" } },
        allowedNamespaces: ["desk"],
      };
      const subject = pod({ labels: { app: "feed" }, ...sketch });
      const made = plan([object("prices", { ...CHANNEL, publishers })], [subject]);
      expect(made.attachments).to.equal(isAttached ? 1 : 0);
    });
  }

  it("should not take the sidecar for a container of the pod", function () {
    const publishers = { containers: ["shimmy-sidecar"] };
    const made = plan([object("prices", { ...CHANNEL, publishers })], [feed]);
    expect(conditions(made)).to.include("Attached=False NoPods");
  });

  it("should attach nothing for an object that is not sound, and say why (I3)", function () {
    const made = plan([object("prices", { ...CHANNEL, publishers: { podSelector: {} } })], [feed]);
    expect(made.attachments).to.equal(0);
    expect(conditions(made)).to.deep.equal(["Ready=False Invalid", "Accepted=False Invalid"]);
    const [, accepted] = made.statuses.get("market/prices")?.conditions ?? [];
    expect(accepted?.message).to.match(
      /spec\.publishers\.podSelector: a selector must not be empty/,
    );
  });

  it("should attach nothing for an object that is being deleted", function () {
    const deletionTimestamp = "2026-02-03T04:05:06Z";
    expect(plan([object("prices", CHANNEL, { deletionTimestamp })], [feed]).attachments).to.equal(
      0,
    );
  });

  it("should be ready with connections only", function () {
    const made = plan(
      [object("prices", { connections: [{ service: "a", namespaces: ["b"] }] })],
      [],
    );
    expect(conditions(made)).to.deep.equal([
      "Ready=True Ready",
      "Accepted=True Valid",
      "Supported=True Supported",
    ]);
  });

  it("should say so when a pod's node is not known", function () {
    const made = plan(
      [object("prices", CHANNEL)],
      [pod({ name: "p", containers: ["feed"], node: "n9" })],
    );
    expect(conditions(made)).to.include("Attached=False NodeUnknown");
  });

  it("should keep older objects and pods in a node that is full (I2)", function () {
    const some = (from: number, count: number, createdAt: string): MasterPod[] =>
      Array.from({ length: count }, (_, index) =>
        pod({ name: `p-${from + index}`, containers: ["feed"], createdAt }),
      );
    const pods = [
      ...some(0, 3, "2026-01-03T00:00:00Z"),
      ...some(3, MAX_ATTACHMENTS - 2, "2026-01-02T00:00:00Z"),
    ];
    const young = object("a", CHANNEL, { creationTimestamp: "2026-01-09T00:00:00Z" });
    const old = object("prices", CHANNEL, { creationTimestamp: "2026-01-01T00:00:00Z" });
    const made = plan([young, old], pods);
    const here = attached(made);
    expect(here).to.have.length(MAX_ATTACHMENTS);
    expect(here.filter((line) => line.includes(" a "))).to.deep.equal([]);
    expect(here.slice(-2)).to.deep.equal([
      "publisher market/p-0 prices feed",
      "publisher market/p-1 prices feed",
    ]);
    expect(conditions(made)).to.include("Attached=False NodeFull");
    expect(conditions(made, "market/a")).to.include("Attached=False NodeFull");
  });

  it("should decide the same whatever the order in which things came (I1)", function () {
    const objects = ["prices", "orders", "news"].map((name) => object(name, CHANNEL));
    const pods = ["c", "a", "b"].map((name) => pod({ name, containers: ["feed"] }));
    expect(plan(objects.toReversed(), pods.toReversed())).to.deep.equal(plan(objects, pods));
  });

  it("should change the time of a condition only when its status changes", function () {
    const before = object("prices", CHANNEL);
    const status = plan([before], [feed]).statuses.get("market/prices");
    const later = makePlan(world([{ ...before, status }], [trader]), new Date("2027-01-01"));
    expect(later.statuses.get("market/prices")?.conditions).to.deep.equal(status?.conditions);
    const none = makePlan(world([{ ...before, status }], []), new Date("2027-01-01"));
    const times = none.statuses
      .get("market/prices")
      ?.conditions?.map((each) => [each.type, each.lastTransitionTime]);
    expect(times).to.deep.include(["Attached", "2027-01-01T00:00:00Z"]);
    expect(times).to.deep.include(["Accepted", "2026-02-03T04:05:06Z"]);
  });
});

describe("docs/reference/shared-memory-object.md", function () {
  it("should explain the reason of every condition", function () {
    const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/shared-memory-object.md"), "utf8");
    const rows = [...text.matchAll(/^\| `(\w+)` \| `(\w+)` \| /gm)].map(([, a, b]) => `${a} ${b}`);
    const reasons = Object.entries(CONDITION_REASONS).flatMap(([type, list]) =>
      list.map((reason) => `${type} ${reason}`),
    );
    expect(rows).to.have.members(reasons);
  });
});
