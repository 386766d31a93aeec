import { expect } from "chai";

import {
  matchesSelector,
  objectKey,
  type LabelRequirement,
} from "../../../../common/kubernetes/objects.ts";
import { RESOURCES, resourcePath } from "../../../../common/kubernetes/resources.ts";

describe("matchesSelector()", function () {
  const labels = { app: "web", tier: "front" };

  it("should want every label of matchLabels", function () {
    expect(matchesSelector({ matchLabels: { app: "web" } }, labels)).to.equal(true);
    expect(matchesSelector({ matchLabels: { app: "web", tier: "back" } }, labels)).to.equal(false);
    expect(matchesSelector({ matchLabels: { toString: "x" } }, labels)).to.equal(false);
    expect(matchesSelector({ matchLabels: { app: "web" } })).to.equal(false);
  });

  const table: [LabelRequirement, boolean][] = [
    [{ key: "app", operator: "In", values: ["web", "api"] }, true],
    [{ key: "app", operator: "In", values: ["api"] }, false],
    [{ key: "none", operator: "In", values: ["api"] }, false],
    [{ key: "app", operator: "NotIn", values: ["api"] }, true],
    [{ key: "app", operator: "NotIn", values: ["web"] }, false],
    [{ key: "none", operator: "NotIn", values: ["web"] }, true],
    [{ key: "app", operator: "Exists" }, true],
    [{ key: "none", operator: "Exists" }, false],
    [{ key: "app", operator: "DoesNotExist" }, false],
    [{ key: "none", operator: "DoesNotExist" }, true],
    [{ key: "app", operator: "Later" as "In", values: ["web"] }, false],
  ];
  for (const [requirement, expected] of table) {
    it(`should be ${String(expected)} for ${JSON.stringify(requirement)}`, function () {
      expect(matchesSelector({ matchExpressions: [requirement] }, labels)).to.equal(expected);
    });
  }
});

describe("resourcePath()", function () {
  it("should have the paths of the API server", function () {
    const { pods, shimmyNodes, sharedMemoryObjects } = RESOURCES;
    expect(resourcePath(pods)).to.equal("/api/v1/pods");
    expect(resourcePath(pods, { namespace: "a", name: "b" })).to.equal(
      "/api/v1/namespaces/a/pods/b",
    );
    expect(resourcePath(shimmyNodes, { name: "n", subresource: "status" })).to.equal(
      "/apis/shimmy.io/v1alpha1/shimmynodes/n/status",
    );
    expect(resourcePath(sharedMemoryObjects, { namespace: "../x" })).to.equal(
      "/apis/shimmy.io/v1alpha1/namespaces/..%2Fx/sharedmemoryobjects",
    );
  });
});

describe("objectKey()", function () {
  it("should name the namespace where there is one", function () {
    expect(objectKey({ namespace: "a", name: "b" })).to.equal("a/b");
    expect(objectKey({ name: "b" })).to.equal("b");
  });
});
