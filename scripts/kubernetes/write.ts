// Writes what is made from the schemas of our kinds: manifests/base/crds and the tables of fields in
// docs/reference; and from manifests/base, the templates of the chart and the page of roles. Run it
// after a change of a schema or a manifest; a test says so when it was forgotten.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { PACKAGE_ROOT } from "../../common/version.ts";
import { chartFiles } from "./chart.ts";
import { crdFiles, renderCrd } from "./crd.ts";
import { RBAC_PAGE, withRoles } from "./rbac.ts";
import { describeSchema } from "./reference.ts";
import { describeValues } from "./values.ts";

const FIELDS_BEGIN = "\n## spec\n";
const VALUES_PAGE = "docs/reference/manifests.md";
const VALUES_BEGIN = "\n## Values\n";

/** The file's text, with its fields as the schema has them. */
export function withFields(text: string, fields: string): string {
  const begin = text.indexOf(FIELDS_BEGIN);
  return `${begin < 0 ? text : text.slice(0, begin + 1)}${fields}\n`;
}

/** The page of manifests, with the values of the chart as they are. */
function valuesPage(): string {
  const page = readFileSync(join(PACKAGE_ROOT, VALUES_PAGE), "utf8");
  const end = page.indexOf(VALUES_BEGIN) + VALUES_BEGIN.length;
  return `${page.slice(0, end)}\n${describeValues()}\n`;
}

/** The files that are made, with what they are to hold. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ...crdFiles().flatMap((file): [string, string][] => {
      const page = readFileSync(join(PACKAGE_ROOT, file.page), "utf8");
      return [
        [file.path, renderCrd(file)],
        [file.page, withFields(page, describeSchema(file.schema))],
      ];
    }),
    ...chartFiles(),
    [VALUES_PAGE, valuesPage()],
    [RBAC_PAGE, withRoles(readFileSync(join(PACKAGE_ROOT, RBAC_PAGE), "utf8"))],
  ]);
}

if (import.meta.main) {
  for (const [path, text] of generatedFiles()) writeFileSync(join(PACKAGE_ROOT, path), text);
}
