import { expect } from "chai";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PACKAGE_ROOT, VERSION } from "../../common/version.ts";
import { mustRun, runProgram, type ProgramResult } from "../helpers/run-program.ts";

const TIME_LIMIT_MS = 120_000;
const SUMS = "SHA256SUMS";

describe("npm run release", function () {
  this.timeout(2 * TIME_LIMIT_MS);
  let folder: string;

  beforeEach(function () {
    folder = mkdtempSync(join(tmpdir(), "shimmy-release-"));
  });

  afterEach(function () {
    rmSync(folder, { recursive: true });
  });

  /** Makes what does not need much time; the image has tests of its own. */
  async function release(to: string): Promise<void> {
    const parts = ["--part", "package", "--part", "chart", "--machine", "host"];
    const main = join(PACKAGE_ROOT, "scripts/release/main.ts");
    const argv = [process.execPath, main, "--allow-dirty", ...parts, "--folder", to];
    await mustRun(argv, { timeoutMs: TIME_LIMIT_MS });
  }

  it("should make the same of the same sources, with sums that fit", async function () {
    const folders = ["a", "b"].map((name) => join(folder, name));
    for (const each of folders) await release(each);
    const [a = "", b] = folders.map((each) => readFileSync(join(each, SUMS), "utf8"));
    expect(a).to.equal(b);
    expect(readdirSync(folders[0] ?? "")).to.have.members([
      SUMS,
      `shimmy-${VERSION}.tgz`,
      `shimmy-chart-${VERSION}.tgz`,
    ]);
    await mustRun(["sh", "-c", `cd ${folders[0] ?? ""} && sha256sum --check --strict ${SUMS}`]);
    // Again into the same folder; never into one that holds something else.
    await release(folders[0] ?? "");
    rmSync(join(folders[0] ?? "", SUMS));
    const refused = await release(folders[0] ?? "").catch((err: unknown) => String(err));
    expect(refused).to.include("holds other things than a release");
  });

  it("should make a package that works without a compiler", async function () {
    await release(join(folder, "release"));
    // Node.js, npm and a shell to start them with, and nothing else.
    const [tools, home] = ["tools", "home"].map((name) => join(folder, name)) as [string, string];
    for (const each of [tools, home]) mkdirSync(each);
    const { stdout: npm } = await mustRun(["sh", "-c", "command -v npm"]);
    for (const [name, path] of [
      ["node", process.execPath],
      ["npm", npm.trim()],
      ["sh", "/bin/sh"],
    ] as const) {
      symlinkSync(realpathSync(path), join(tools, name));
    }
    const run = async (...argv: string[]): Promise<ProgramResult> => {
      const env = { PATH: tools, TMPDIR: folder };
      // An addon of this clone is not to be chosen.
      const command = ["/usr/bin/env", "-u", "SHIMMY_NATIVE_BUILD", "-C", home, ...argv];
      const result = await runProgram(command, { env, timeoutMs: TIME_LIMIT_MS });
      expect(result.code, result.stdout + result.stderr).to.equal(0);
      return result;
    };
    const archive = join(folder, "release", `shimmy-${VERSION}.tgz`);
    await run("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", archive);
    const shimmy = join(home, "node_modules/.bin/shimmy");
    expect((await run(shimmy, "--version")).stdout.trim()).to.equal(VERSION);

    const program = `import { ShimmyClient } from "shimmy";
      await ShimmyClient.connect({ socket: "/none" }).catch(({ code }) => console.log(code));`;
    const { stdout } = await run("node", "--input-type=module", "--eval", program);
    expect(stdout).to.equal("SHIMMY_ERR_AGENT_UNAVAILABLE\n");

    cpSync(join(PACKAGE_ROOT, "examples/hello"), join(home, "hello"), { recursive: true });
    const { stderr } = await run(shimmy, "run", "hello/shimmy.yaml");
    expect(stderr).to.include("10 connections, by shared memory every one.");
  });
});
