import { expect } from "chai";
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";

import { PACKAGE_ROOT, VERSION } from "../../common/version.ts";
import type { Sbom } from "../../scripts/release/sbom.ts";
import { mustRun } from "../helpers/run-program.ts";

const TIME_LIMIT_MS = 120_000;
const SBOM = "/usr/share/doc/shimmy/sbom.json";

/** Files of a directory as paths from it. */
function filesBelow(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name).slice(root.length));
}

describe("image/build.sh", function () {
  this.timeout(2 * TIME_LIMIT_MS);
  let folder: string;

  beforeEach(function () {
    folder = mkdtempSync(join(tmpdir(), "shimmy-image-"));
  });

  afterEach(function () {
    rmSync(folder, { recursive: true });
  });

  async function run(script: string, ...args: readonly string[]): Promise<void> {
    const path = join(PACKAGE_ROOT, "image", script);
    await mustRun(["bash", path, ...args], { timeoutMs: TIME_LIMIT_MS });
  }

  async function digestOf(path: string): Promise<string> {
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    return hash.digest("hex");
  }

  it("should make the same of the same sources", async function () {
    const archives = ["a.tar", "b.tar"].map((name) => join(folder, name));
    for (const archive of archives) await run("build.sh", archive, "example.test/shimmy:1");
    const [a, b] = await Promise.all(archives.map(digestOf));
    expect(a).to.equal(b);
  });

  it("should hold all that the command and the helper need", async function () {
    const root = join(folder, "root");
    await run("stage.sh", root);
    const shimmy = ["/usr/local/bin/node", "/opt/shimmy/cli/bin.js"];
    const { stdout } = await mustRun(["chroot", root, ...shimmy, "--version"]);
    expect(stdout.trim()).to.equal(VERSION);
    // The addon as well, with its libraries.
    const load = `require("/opt/shimmy/build/release/shimmy.node")`;
    await mustRun(["chroot", root, "/usr/local/bin/node", "-e", load]);
    const helper = ["/usr/local/bin/shimmy-netns-helper", "--version"];
    expect((await mustRun(["chroot", root, ...helper])).stdout).to.include(VERSION);

    // And its list says of every file what it belongs to.
    const sbom = JSON.parse(readFileSync(join(root, SBOM), "utf8")) as Sbom;
    const locations = sbom.components.flatMap(({ evidence }) =>
      (evidence?.occurrences ?? []).map(({ location }) => location),
    );
    const unlisted = filesBelow(root).filter(
      (path) => path !== SBOM && !locations.some((at) => path === at || path.startsWith(`${at}/`)),
    );
    expect(unlisted).to.deep.equal([]);
    const names = sbom.components.map(({ name }) => name);
    expect(names).to.include.members(["shimmy", "node", "libc6", "libstdc++6", "undici"]);
    const modules = filesBelow(root).filter((path) =>
      /\/node_modules\/(?:@[^/]+\/)?[^/]+\/package\.json$/.test(path),
    );
    const listed = locations.filter((path) => path.includes("/node_modules/"));
    expect(listed).to.have.members(modules.map(dirname));
  });
});
