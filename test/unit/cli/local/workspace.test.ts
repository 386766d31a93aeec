import { expect } from "chai";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

import { cleanEnvironment, Workspace } from "../../../../cli/local/workspace.ts";

/** Processes that have this text in their command lines. */
function running(text: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
    } catch {
      return false;
    }
  });
}

describe("Workspace", function () {
  it("should remove files, processes and daemons that left their group", async function () {
    const workspace = new Workspace();
    const program = workspace.start({
      name: "daemon",
      argv: ["/bin/sh", "-c", "setsid sleep 61.625 & sleep 61.626"],
    });
    while (running("61.625").length === 0) await delay(5);
    await workspace.close();
    expect(existsSync(workspace.directory)).to.be.false;
    expect(program.ending).not.to.equal(undefined);
    expect(running("61.625")).to.deep.equal([]);
    expect(running("61.626")).to.deep.equal([]);
    await workspace.close();
  });

  it("should start nothing once it is closed", async function () {
    const workspace = new Workspace();
    await workspace.close();
    expect(() => workspace.start({ name: "late", argv: ["true"] }))
      .to.throw("start late")
      .with.property("code", "SHIMMY_ERR_CLOSED");
  });

  it("should clean up even when its process is killed", async function () {
    const module = new URL("../../../../cli/local/workspace.ts", import.meta.url).href;
    const script = `import { Workspace } from ${JSON.stringify(module)};
      const workspace = new Workspace();
      workspace.start({ name: "x", argv: ["sleep", "62.625"] });
      console.log(workspace.directory);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script]);
    const [output] = (await once(child.stdout, "data")) as [Buffer];
    const directory = output.toString().trim();
    expect(existsSync(directory)).to.be.true;
    child.kill("SIGKILL");
    await once(child, "exit");
    const deadline = performance.now() + 5000;
    while (existsSync(directory) && performance.now() < deadline) await delay(20);
    expect(existsSync(directory)).to.be.false;
    expect(running("62.625")).to.deep.equal([]);
  });
});

describe("cleanEnvironment()", function () {
  it("should leave out what is ours", function () {
    expect(cleanEnvironment({ PATH: "/bin", SHIMMY_POD: "a/b" })).to.deep.equal({ PATH: "/bin" });
  });
});
