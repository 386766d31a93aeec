import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { parseAllDocuments } from "yaml";

import { PACKAGE_ROOT } from "../../common/version.ts";

/** The page with the roles of all parts. */
export const RBAC_PAGE = "docs/reference/rbac.md";

const ROLES_BEGIN = "\n## Roles\n";

interface RoleDocument {
  readonly kind?: string;
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
  readonly rules?: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly resourceNames?: readonly string[];
    readonly verbs: readonly string[];
  }[];
}

/** The page's text, with the roles as the manifests have them. */
export function withRoles(text: string): string {
  const begin = text.indexOf(ROLES_BEGIN);
  const before = begin < 0 ? text : text.slice(0, begin);
  return `${before.trimEnd()}\n${ROLES_BEGIN}\n${describeRoles()}\n`;
}

function describeRoles(): string {
  const files = globSync("manifests/{base,components}/*/rbac.yaml", {
    cwd: PACKAGE_ROOT,
  }).toSorted();
  const documents = files.flatMap((file) =>
    parseAllDocuments(readFileSync(join(PACKAGE_ROOT, file), "utf8")).map(
      (document) => document.toJS() as RoleDocument,
    ),
  );
  return documents
    .filter(({ kind }) => kind === "ClusterRole" || kind === "Role")
    .map(describeRole)
    .join("\n\n");
}

function describeRole({ kind = "", metadata = {}, rules = [] }: RoleDocument): string {
  const where = kind === "Role" ? `in ${metadata.namespace ?? ""}` : "in the whole cluster";
  return [
    `### ${kind} ${metadata.name ?? ""}, ${where}`,
    "",
    "| Group | Resources | Verbs |",
    "|---|---|---|",
    ...rules.map(({ apiGroups, resources, resourceNames = [], verbs }) => {
      const groups = apiGroups.map((group) => (group === "" ? "core" : `\`${group}\``)).join(", ");
      const only = resourceNames.length === 0 ? "" : `, only ${codes(resourceNames)}`;
      return `| ${groups} | ${codes(resources)}${only} | ${verbs.join(", ")} |`;
    }),
  ].join("\n");
}

function codes(words: readonly string[]): string {
  return words.map((word) => `\`${word}\``).join(", ");
}
