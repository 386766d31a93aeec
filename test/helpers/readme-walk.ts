import { readFileSync } from "node:fs";
import { join } from "node:path";

import { PACKAGE_ROOT } from "../../common/version.ts";

const TITLE = "In a Kubernetes cluster";

/**
 * The commands of the README's walk through a cluster, in their order, as they stand there: whoever
 * tests the walk runs these and no others.
 */
export function readWalk(): string[] {
  const readme = readFileSync(join(PACKAGE_ROOT, "README.md"), "utf8");
  const [, rest = ""] = readme.split(`\n## ${TITLE}\n`);
  const [section = ""] = rest.split("\n## ", 1);
  const blocks = [...section.matchAll(/^```sh\n(.*?)^```$/gms)];
  return blocks.flatMap(([, text = ""]) => text.split("\n").filter((line) => line !== ""));
}
