import { expect } from "chai";

import { CHECKS } from "../../../cli/check/checks.ts";
import { readSource } from "./sources.ts";

describe("docs/guides/troubleshoot.md", function () {
  it("should have every check, and when it is made", function () {
    const [, section = ""] =
      /## What it looks at\n(.*?)\n## /s.exec(readSource("docs/guides/troubleshoot.md")) ?? [];
    const rows = [...section.matchAll(/^\| `([\w-]+)` \|.*\| (yes)? ?\| (yes)? ?\|$/gm)];
    const before = rows.filter(([, , yes]) => yes !== undefined).map(([, check]) => check);
    const after = rows.filter(([, , , yes]) => yes !== undefined).map(([, check]) => check);
    const names = (phase: "before" | "after"): string[] => [
      "version",
      ...CHECKS[phase].map(({ check }) => check),
    ];
    expect(before).to.have.members(names("before"));
    expect(after).to.have.members(names("after"));
  });
});

describe("docs/guides/metrics.md", function () {
  it("should name metrics that there are", function () {
    const known = readSource("docs/reference/metrics.md");
    const named = readSource("docs/guides/metrics.md").matchAll(/\bshimmy_\w+/g);
    const unknown = [...named]
      .map(([name]) => name)
      .filter((name) => !known.includes(`\`${name}\``));
    expect(unknown).to.deep.equal([]);
  });
});
