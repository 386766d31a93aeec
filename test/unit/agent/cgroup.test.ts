import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { readCgroup, type CgroupReading } from "../../../agent/cgroup.ts";
import { Random } from "../../helpers/random.ts";

interface Case {
  readonly name: string;
  readonly expected: string;
  readonly text: string;
}

const FIXTURE = join(import.meta.dirname, "../../fixtures/cgroups.txt");
const A = "2c48913c-b29f-11e7-9350-020968147796";
const B = "b33b9af4-e0c2-4f5e-8c37-1f9f3f2f4e0b";

function cases(): Case[] {
  return readFileSync(FIXTURE, "utf8")
    .split(/^== /m)
    .slice(1)
    .map((block) => {
      const [name = "", expected = "", ...lines] = block.trimEnd().split("\n");
      return { name, expected: expected.replace("-> ", ""), text: `${lines.join("\n")}\n` };
    });
}

function summary(reading: CgroupReading): string {
  if (reading.kind !== "pod") return reading.kind;
  return ["pod", reading.uid, reading.container ?? []].flat().join(" ");
}

describe("readCgroup()", function () {
  const all = cases();

  it("should be tried on every layout", function () {
    expect(all).to.have.length.above(40);
  });

  for (const { name, expected, text } of all) {
    it(`should read ${JSON.stringify(name)} as ${expected.slice(0, 12)}`, function () {
      expect(summary(readCgroup(text))).to.equal(expected);
    });
  }

  it("should read a text without its last line end", function () {
    for (const { expected, text } of all) {
      expect(summary(readCgroup(text.trimEnd()))).to.equal(expected);
    }
  });

  it("should read nothing of nothing", function () {
    expect(readCgroup("")).to.deep.equal({ kind: "none" });
  });

  it("should say which pods it took for two", function () {
    const reading = readCgroup(`2:cpu:/kubepods/pod${A}\n1:memory:/kubepods/pod${B}\n`);
    expect(reading).to.have.property("problem", `names two pods, ${A} and ${B}`);
  });

  // I1, I2, I3 of agent/cgroup.ts, whatever a pod may make below its own cgroup.
  it("should never name another pod than the one a pod's cgroup is below", function () {
    const random = new Random("cgroups");
    const parts = [
      ...["kubepods", "kubepods.slice", "burstable", "kubepods-burstable.slice", "..", "", "pod"],
      ...[`pod${A}`, `pod${B}`, `kubepods-pod${B.replaceAll("-", "_")}.slice`, "user.slice"],
      ...[`kubepods-burstable-pod${B}.slice:cri-containerd:${"a".repeat(64)}`, "podman-1.scope"],
      ...[
        "a".repeat(64),
        `crio-${"b".repeat(64)}.scope`,
        "docker",
        `pod${A.toUpperCase()}`,
        "-pod",
      ],
    ];
    const roots = [
      `/kubepods/burstable/pod${A}`,
      `/kubepods.slice/kubepods-pod${A.replaceAll("-", "_")}.slice`,
      `/../../pod${A}`,
      `/../../../kubepods-burstable.slice/kubepods-burstable-pod${A.replaceAll("-", "_")}.slice`,
    ];
    const outcomes = new Map<string, number>();
    for (let round = 0; round < 20_000; round++) {
      const lines = Array.from({ length: 1 + random.integer(0, 2) }, (_, index) => {
        const below = Array.from({ length: random.integer(0, 5) }, () => random.pick(parts));
        return `${index}:x:${[random.pick(roots), ...below].join("/")}`;
      });
      const text = `${lines.join("\n")}\n`;
      const reading = readCgroup(text);
      outcomes.set(reading.kind, (outcomes.get(reading.kind) ?? 0) + 1);
      if (reading.kind === "pod") expect(reading.uid, text).to.equal(A);
      const namesB = text.includes(B) || text.includes(B.replaceAll("-", "_"));
      expect(reading.kind, text).to.equal(namesB ? "refused" : "pod");
    }
    expect([...outcomes.keys()].sort()).to.deep.equal(["pod", "refused"]);
  });

  it("should read any bytes without failing", function () {
    const random = new Random("bytes");
    const alphabet = [
      "0",
      ":",
      "/",
      "..",
      "\n",
      "-",
      "_",
      "pod",
      "kubepods",
      "slice",
      A,
      "\0",
      "\u{1f600}",
    ];
    for (let round = 0; round < 20_000; round++) {
      const text = Array.from({ length: random.integer(0, 29) }, () => random.pick(alphabet)).join(
        "",
      );
      expect(readCgroup(text).kind).to.be.oneOf(["pod", "none", "refused"]);
    }
  });
});
