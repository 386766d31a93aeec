import { existsSync, globSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

import { expect } from "chai";

import { PACKAGE_ROOT } from "../../../common/version.ts";
import { readSource } from "./sources.ts";

const PAGES = globSync(["*.md", "docs/**/*.md", "bench/**/*.md", "shm-core/**/*.md"], {
  cwd: PACKAGE_ROOT,
})
  .filter((path) => !path.split("/").includes("node_modules"))
  .toSorted();

/** Targets of links and pictures outside code. */
function links(markdown: string): string[] {
  const prose = markdown.replaceAll(/^```.*?^```/gms, "").replaceAll(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
}

/** The anchors that headings get, as GitHub makes them. */
function anchors(markdown: string): Set<string> {
  const headings = markdown.replaceAll(/^```.*?^```/gms, "").matchAll(/^#{1,6} (.+)$/gm);
  return new Set(
    [...headings].map(([, title = ""]) =>
      title
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

function problemOf(page: string, link: string): string | undefined {
  if (/^(?:https?|mailto):/.test(link)) return undefined;
  const [path = "", anchor] = link.split("#", 2);
  const target = path === "" ? page : normalize(join(dirname(page), path));
  if (target.startsWith("..")) return `${link} leaves the repository`;
  if (!existsSync(join(PACKAGE_ROOT, target))) return `${link} does not exist`;
  if (anchor === undefined || !target.endsWith(".md")) return undefined;
  return anchors(readSource(target)).has(anchor) ? undefined : `${link} has no such heading`;
}

describe("documentation", function () {
  for (const page of PAGES) {
    it(`should have links that lead somewhere: ${page}`, function () {
      const problems = links(readSource(page)).map((link) => problemOf(page, link));
      expect(problems.filter((problem) => problem !== undefined)).to.deep.equal([]);
    });
  }

  it("should be listed in docs/README.md", function () {
    const listed = links(readSource("docs/README.md")).map((link) => normalize(join("docs", link)));
    const pages = globSync("docs/**/*.{md,yaml}", { cwd: PACKAGE_ROOT });
    expect(listed).to.include.members(pages.filter((path) => path !== "docs/README.md"));
  });

  it("should know a link that leads nowhere", function () {
    expect(problemOf("README.md", "docs/nowhere.md")).to.equal("docs/nowhere.md does not exist");
    expect(problemOf("README.md", "#nowhere")).to.equal("#nowhere has no such heading");
    expect(problemOf("docs/README.md", "../../x")).to.equal("../../x leaves the repository");
  });
});
