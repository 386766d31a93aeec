import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { parse, stringify } from "yaml";

import { PACKAGE_ROOT } from "../../../common/version.ts";
import { kustomize, TEST_IMAGE, type Manifest } from "../../helpers/manifests.ts";

/** What manifests/install makes with a good image, and with components. */
export async function install(...components: string[]): Promise<Manifest[]> {
  const manifests = join(PACKAGE_ROOT, "manifests");
  const folder = mkdtempSync(join(manifests, ".test-"));
  try {
    const template = readFileSync(join(manifests, "install/kustomization.yaml"), "utf8");
    const overlay = parse(template) as Record<string, unknown>;
    const [newName = "", newTag = ""] = TEST_IMAGE.split(/:(?=[^:]*$)/);
    overlay["images"] = [{ name: "shimmy", newName, newTag }];
    overlay["components"] = components.map((name) => `../components/${name}`);
    writeFileSync(join(folder, "kustomization.yaml"), stringify(overlay));
    return await kustomize(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
