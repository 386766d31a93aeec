import { expect } from "chai";

import { checkSharedMemoryObject } from "../../../../common/kubernetes/shared-memory-object.ts";
import { checkShimmyNode } from "../../../../common/kubernetes/shimmy-node.ts";

const metadata = { name: "prices", namespace: "market", uid: "u-1", resourceVersion: "7" };
const channel = {
  type: "Stream",
  publishers: { containers: ["feed"] },
  subscribers: { podSelector: { matchLabels: { app: "trader" } } },
};

describe("checkSharedMemoryObject()", function () {
  const good: [string, unknown][] = [
    ["a channel", channel],
    ["connections only", { connections: [{ service: "orders", namespaces: ["desk"] }] }],
    ["fields of a newer version", { ...channel, colour: "red" }],
  ];
  for (const [what, spec] of good) {
    it(`should take ${what}`, function () {
      const object = { metadata, spec };
      expect(checkSharedMemoryObject(object)).to.deep.equal({ object });
    });
  }

  const bad: [unknown, RegExp][] = [
    [undefined, /must be object/],
    [{ metadata }, /required property 'spec'/],
    [{ metadata: { name: "a" }, spec: channel }, /metadata: must have required property 'uid'/],
    [{ metadata, spec: { type: "Queue" } }, /spec\.type: must be equal to one of/],
    [
      { metadata, spec: { type: "Stream", publishers: {} } },
      /spec\.publishers: a role must say who/,
    ],
    [
      { metadata, spec: { ...channel, subscribers: { podSelector: { matchLabels: {} } } } },
      /spec\.subscribers\.podSelector: a selector must not be empty/,
    ],
    [
      { metadata, spec: { connections: [{ service: "a", namespaces: ["b"], podSelector: {} }] } },
      /spec\.connections\[0\]\.podSelector: a selector must not be empty/,
    ],
    [
      { metadata, spec: { ...channel, capacity: { blocks: 1 } } },
      /spec\.capacity\.blocks: must be >= 2/,
    ],
  ];
  for (const [value, problem] of bad) {
    it(`should refuse ${JSON.stringify(value)}`, function () {
      expect(checkSharedMemoryObject(value).problem).to.match(problem);
    });
  }
});

describe("checkShimmyNode()", function () {
  it("should take a node without spec and status, which has just been made", function () {
    expect(checkShimmyNode({ metadata }).problem).to.equal(undefined);
  });

  it("should refuse an attachment without its pod", function () {
    const object = { namespace: "a", name: "b", uid: "c" };
    const value = { metadata, spec: { attachments: [{ object, role: "publisher" }] } };
    expect(checkShimmyNode(value).problem).to.match(/spec\.attachments\.0: .*'pod'/);
  });
});
