import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addonCandidates } from "../../../../shm-core/lib/native.ts";

const NATIVE = join(import.meta.dirname, "../../../../shm-core/lib/native.ts");

describe("addonCandidates()", function () {
  it("should prefer a prebuilt addon to the release build", function () {
    expect(addonCandidates("/root", undefined)).to.deep.equal([
      `/root/prebuilds/${process.platform}-${process.arch}/shimmy.node`,
      "/root/build/release/shimmy.node",
    ]);
  });

  it("should try only the preset that SHIMMY_NATIVE_BUILD names", function () {
    expect(addonCandidates("/root", "tsan")).to.deep.equal(["/root/build/tsan/shimmy.node"]);
  });

  it("should throw SHIMMY_ERR_INVALID_OPTION for an unknown preset", function () {
    expect(() => addonCandidates("/root", "../../evil"))
      .to.throw()
      .with.property("code", "SHIMMY_ERR_INVALID_OPTION");
  });
});

describe("native()", function () {
  it("should throw SHIMMY_ERR_NATIVE_MISSING and say what to run when there is no addon", function () {
    const folder = mkdtempSync(join(tmpdir(), "shimmy-"));
    try {
      // A copy of the sources in a folder that has no build.
      const script = `
        import { cpSync, writeFileSync } from "node:fs";
        cpSync(${JSON.stringify(join(NATIVE, "../../../shm-core/lib"))}, "shm-core/lib", { recursive: true });
        cpSync(${JSON.stringify(join(NATIVE, "../../../common"))}, "common", { recursive: true });
        writeFileSync("package.json", '{"type":"module"}');
        const { native } = await import(process.cwd() + "/shm-core/lib/native.ts");
        try { native(); } catch (err) { console.log(err.code + ": " + err.message); }`;
      const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
        cwd: folder,
        encoding: "utf8",
      });
      expect(output).to.match(/^SHIMMY_ERR_NATIVE_MISSING: .*run "npm run build:native"/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
