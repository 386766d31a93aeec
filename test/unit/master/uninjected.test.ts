import { expect } from "chai";

import { INJECTION_REASONS } from "../../../common/reasons.ts";
import { resolveOptIn } from "../../../injector/opt-in.ts";
import { findSkipped, findUninjected } from "../../../master/uninjected.ts";
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
      "and says a reason that there is not",
      { name: "p", sidecar: "none", annotations: { ...ASKED, "shimmy.io/skipped": "frob" } },
      ["pod"],
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

describe("findSkipped()", function () {
  function skipped(sketch: Partial<PodSketch>, inherited = "enabled"): string[] {
    const labels = { "shimmy.io/inject": inherited };
    const namespaces = new Map<string, FoundNamespace>([["market", { labels }]]);
    const { pods } = world([], [pod({ name: "p", sidecar: "none", ...sketch })]);
    return findSkipped({ pods, namespaces, excluded: new Set() }).map(({ reason }) => reason);
  }
  const because = (reason: string): Partial<PodSketch> => ({
    annotations: { "shimmy.io/skipped": reason },
  });

  for (const reason of INJECTION_REASONS) {
    it(`should find a pod of a namespace that was left alone for ${reason}`, function () {
      expect(skipped(because(reason))).to.deep.equal([reason]);
    });
  }

  for (const [what, sketch, inherited] of [
    ["has the sidecar", { ...because("bad_value"), sidecar: "native" }, "enabled"],
    ["has ended", { ...because("bad_value"), phase: "Succeeded" }, "enabled"],
    ["is ending", { ...because("bad_value"), isTerminating: true }, "enabled"],
    ["is of a namespace that did not opt in", because("bad_value"), "disabled"],
    ["says a reason that there is not", because("frob"), "enabled"],
    ["says nothing", {}, "enabled"],
  ] as const) {
    it(`should find no pod that ${what}`, function () {
      expect(skipped(sketch, inherited)).to.deep.equal([]);
    });
  }
});
