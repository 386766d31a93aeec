import { expect } from "chai";

import { RESOURCES } from "../../../common/kubernetes/resources.ts";
import { findUncarried, takeUncarried } from "../../../master/uncarried.ts";
import { pod, world, type PodSketch } from "./fakes.ts";

const ASKED = { "shimmy.io/inject": "enabled" };
const CARRIED = { metadata: { annotations: ASKED } };
const SELECTOR = { matchLabels: { app: "web" } };
const OLD: PodSketch = { name: "web-1", labels: { app: "web" }, sidecar: "none" };

/** Causes that are told of a workload with these fields in its spec, and these pods. */
function causes(spec: object, pods: readonly PodSketch[], annotations: object = ASKED): string[] {
  const metadata = { name: "web", namespace: "market", uid: "uid-web", annotations };
  const object = { metadata, spec: { selector: SELECTOR, ...spec } };
  const taken = takeUncarried(RESOURCES.deployments, object as never);
  const found = findUncarried(taken === undefined ? [] : [taken], world([], pods.map(pod)).pods);
  return found.map(({ cause }) => cause);
}

describe("findUncarried()", function () {
  const onDelete = { updateStrategy: { type: "OnDelete" } };
  const partition = (first: number): object => ({
    updateStrategy: { type: "RollingUpdate", rollingUpdate: { partition: first } },
  });
  const paused = { template: CARRIED, paused: true };
  const table: [what: string, spec: object, pods: PodSketch[], expected: string[]][] = [
    ["a template that says nothing", { template: {} }, [], ["template"]],
    ["a template that says nothing, paused", { template: {}, paused: true }, [OLD], ["template"]],
    ["a template that was carried", { template: CARRIED }, [OLD], []],
    ["a pause that keeps pods as they were", paused, [OLD], ["paused"]],
    ["a strategy that does", { template: CARRIED, ...onDelete }, [OLD], ["on_delete"]],
    ["a partition", { template: CARRIED, ...partition(2) }, [OLD], ["partition"]],
    ["a partition of nothing", { template: CARRIED, ...partition(0) }, [OLD], []],
    ["a strategy that does not", { template: CARRIED, updateStrategy: {} }, [OLD], []],
    ["a pause that keeps nothing", paused, [], []],
    ["a pause of what is injected", paused, [{ ...OLD, sidecar: "native" }], []],
    ["a pause of a pod that ends", paused, [{ ...OLD, phase: "Succeeded" }], []],
    ["a pause, and another's pod", paused, [{ ...OLD, labels: { app: "db" } }], []],
    ["a pause, and a pod elsewhere", paused, [{ ...OLD, namespace: "shop" }], []],
    ["a pause, and a pod that opted in itself", paused, [{ ...OLD, annotations: ASKED }], []],
    [
      "a pause, and a template that refuses",
      { template: { metadata: { labels: { "shimmy.io/inject": "disabled" } } }, paused: true },
      [OLD],
      [],
    ],
  ];
  for (const [what, spec, pods, expected] of table) {
    it(`should find ${expected.join() || "nothing"} for ${what}`, function () {
      expect(causes(spec, pods)).to.deep.equal(expected);
    });
  }

  it("should find nothing for a workload that did not opt in", function () {
    expect(causes({ template: {} }, [OLD], {})).to.deep.equal([]);
  });
});
