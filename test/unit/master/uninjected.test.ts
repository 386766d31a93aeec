import { expect } from "chai";

import { resolveOptIn } from "../../../injector/opt-in.ts";
import { findUninjected } from "../../../master/uninjected.ts";
import type { FoundNamespace } from "../../../master/world.ts";
import { pod, rawPod, world, type PodSketch } from "./fakes.ts";

function find(sketch: PodSketch, labels: Readonly<Record<string, string>> = {}): string[] {
  const namespaces = new Map<string, FoundNamespace>([["market", { labels }]]);
  const { pods } = world([], [pod(sketch)]);
  const excluded = new Set(["kube-system"]);
  return findUninjected({ pods, namespaces, excluded }).map(({ optIn }) => optIn);
}

const ASKED = { "shimmy.io/inject": "enabled" };

describe("findUninjected()", function () {
  const table: [string, PodSketch, string[]][] = [
    ["by its label", { name: "p", sidecar: "none", labels: ASKED }, ["pod"]],
    ["by its annotation", { name: "p", sidecar: "none", annotations: ASKED }, ["pod"]],
    ["and has the sidecar", { name: "p", labels: ASKED }, []],
    ["and has the sidecar of old", { name: "p", labels: ASKED, sidecar: "container" }, []],
    ["and is done", { name: "p", sidecar: "none", labels: ASKED, phase: "Failed" }, []],
    [
      "in an excluded namespace",
      { name: "p", namespace: "kube-system", sidecar: "none", labels: ASKED },
      [],
    ],
    [
      "and was left alone for a reason",
      {
        name: "p",
        sidecar: "none",
        annotations: { ...ASKED, "shimmy.io/skipped": "host_network" },
      },
      [],
    ],
    [
      "and is the copy of a static pod",
      { name: "p", sidecar: "none", annotations: { ...ASKED, "kubernetes.io/config.mirror": "x" } },
      [],
    ],
  ];
  for (const [what, sketch, expected] of table) {
    it(`should find ${expected.length === 0 ? "nothing" : "a pod"} that opted in ${what}`, function () {
      expect(find(sketch)).to.deep.equal(expected);
    });
  }

  const words = [undefined, "enabled", "disabled"];
  for (const label of words) {
    for (const annotation of words) {
      for (const inherited of words) {
        const entries = (word: string | undefined): Readonly<Record<string, string>> =>
          word === undefined ? {} : { "shimmy.io/inject": word };
        const names = [label, annotation, inherited].map((word) => word ?? "none").join(", ");

        it(`should decide as the injector does: label, annotation, namespace ${names}`, function () {
          const sketch: PodSketch = {
            name: "p",
            sidecar: "none",
            labels: entries(label),
            annotations: entries(annotation),
          };
          const asked = resolveOptIn({ ...rawPod(sketch) }, { labels: entries(inherited) });
          const expected = { explicit: ["pod"], inherited: ["namespace"] };
          expect(find(sketch, entries(inherited))).to.deep.equal(
            asked === "explicit" || asked === "inherited" ? expected[asked] : [],
          );
        });
      }
    }
  }
});
