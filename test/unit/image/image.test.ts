import { execFileSync } from "node:child_process";
import { join } from "node:path";

import { expect } from "chai";

import { PACKAGE_ROOT } from "../../../common/version.ts";
import { readSource } from "../docs/sources.ts";

/** What `docker inspect` shows of an image. */
interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly WorkingDir: string;
}

const containerfile = readSource("image/Containerfile");
const script = readSource("image/build.sh");

function scriptConfig(): ImageConfig {
  const text = /"config":(\{.*?\}),"rootfs"/.exec(script)?.[1];
  return JSON.parse(text ?? "") as ImageConfig;
}

/** What stands behind an instruction of the last stage. */
function instruction(name: string): string {
  const stage = containerfile.slice(containerfile.lastIndexOf("\nFROM "));
  return new RegExp(`^${name} (.*)$`, "m").exec(stage)?.[1] ?? "";
}

describe("the image", function () {
  it("should be filled by one script, with Containerfile and without", function () {
    expect(containerfile).to.include("bash image/stage.sh /image\n");
    expect(script).to.include('bash image/stage.sh "$root"\n');
    // Nothing is copied besides.
    expect(instruction("COPY")).to.equal("--from=build /image /");
  });

  it("should run the same program as the same user either way", function () {
    const config = scriptConfig();
    expect(instruction("USER")).to.equal(config.User);
    expect(JSON.parse(instruction("ENTRYPOINT"))).to.deep.equal(config.Entrypoint);
    expect(config.Env).to.deep.equal([instruction("ENV")]);
    expect(instruction("WORKDIR")).to.equal(config.WorkingDir);
  });

  it("should run as a user that is a number and not root, as restricted namespaces ask", function () {
    expect(scriptConfig().User).to.match(/^[1-9]\d*:[1-9]\d*$/);
  });

  it("should hold what the repository has or builds", function () {
    const sources = readSource("image/files.txt")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => line.split(" ")[0] ?? "");
    const built = ["node_modules/.image/bin/node", "node_modules/.image/modules", "dist"];
    const native = ["build/release/shimmy.node", "build/release/shimmy-netns-helper"];
    const tracked = execFileSync("git", ["ls-files"], { cwd: PACKAGE_ROOT, encoding: "utf8" });
    for (const source of sources) {
      if ([...built, ...native].includes(source)) continue;
      expect(tracked.split("\n")).to.include(source);
    }
    expect(sources).to.include.members([...built, ...native]);
    expect(sources).to.have.length(new Set(sources).size);
    expect(join("/", "opt/shimmy/cli/bin.js")).to.equal(scriptConfig().Entrypoint[1]);
  });
});
