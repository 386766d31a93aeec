import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import { CpuMeter } from "../../../../bench/lib/cpu.ts";
import { Workspace } from "../../../../bench/lib/workspace.ts";

// Some 100 ms of CPU time on any machine: /proc counts in hundredths of a second.
const LOOP = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";

describe("Workspace", function () {
  let workspace: Workspace;

  beforeEach(function () {
    workspace = new Workspace();
  });

  afterEach(async function () {
    await workspace.close();
  });

  it("should stop what it started and remove its files when closed", async function () {
    // The shell's child would outlive a shell that is stopped alone.
    const daemon = workspace.start({ name: "tree", argv: ["sh", "-c", "sleep 60 & wait"] });
    writeFileSync(workspace.path("file"), "");
    await workspace.close();
    expect(existsSync(workspace.directory)).to.equal(false);
    // A process that was killed is gone a moment later; the hang limit is mocha's.
    while (livingMembers(daemon.pid).length > 0) await delay(5);
  });

  it("should have other things removed once its processes have ended", async function () {
    const daemon = workspace.start({ name: "daemon", argv: ["sleep", "60"] });
    const seen: boolean[] = [];
    workspace.onClose(() => seen.push(daemon.isRunning()));
    await workspace.close();
    await workspace.close();
    expect(seen).to.deep.equal([false]);
  });

  it("should give back the output of a program", async function () {
    expect(await workspace.run({ name: "echo", argv: ["echo", "hello"] })).to.equal("hello\n");
  });

  it("should throw with the program's errors when it fails", async function () {
    const failing = workspace.run({ name: "failing", argv: ["sh", "-c", "echo why >&2; exit 3"] });
    const err = await failing.catch((caught: unknown) => caught);
    expect(err)
      .to.be.an("error")
      .with.property("message")
      .that.matches(/ended with 3.*why/s);
  });

  it("should throw when a program cannot be run", async function () {
    const failing = workspace.run({ name: "absent", argv: ["/nonexistent/program"] });
    const err = await failing.catch((caught: unknown) => caught);
    expect(err).to.be.an("error").with.property("code", "ENOENT");
  });

  it("should keep the caller's own settings of Shimmy away from programs", async function () {
    process.env["SHIMMY_TEST_LEAK"] = "1";
    try {
      const text = await workspace.run({ name: "env", argv: ["env"], env: { SHIMMY_POD: "a/b" } });
      expect(text).to.include("SHIMMY_POD=a/b").and.not.include("SHIMMY_TEST_LEAK");
    } finally {
      delete process.env["SHIMMY_TEST_LEAK"];
    }
  });

  it("should show the log of a daemon that ends instead of starting", async function () {
    const daemon = workspace.start({
      name: "broken",
      argv: ["sh", "-c", "echo no config; exit 1"],
    });
    const waiting = workspace.waitForPort(daemon, "127.0.0.1", 1);
    const err = await waiting.catch((caught: unknown) => caught);
    expect(err).to.be.an("error").with.property("message").that.includes("no config");
  });

  for (const { how, makeMeter } of [
    { how: "cgroups, where they can be written", makeMeter: () => new CpuMeter() },
    { how: "/proc", makeMeter: () => new CpuMeter([]) },
  ]) {
    it(`should count the CPU time of programs and daemons by ${how}`, async function () {
      await workspace.close();
      workspace = new Workspace(makeMeter());
      const role = workspace.cpu.role("load");
      await workspace.run({ name: "loop", role, argv: ["sh", "-c", `(${LOOP}); true`] });
      const program = role.usageMicros();
      expect(program).to.be.greaterThan(10_000);

      const done = workspace.path("done");
      const argv = ["sh", "-c", `${LOOP}; : > ${done}; sleep 60`];
      const daemon = workspace.start({ name: "daemon", role, argv });
      await workspace.waitUntil(daemon, "the loop", () => Promise.resolve(existsSync(done)));
      expect(role.usageMicros() - program).to.be.greaterThan(10_000);
    });
  }
});

// Processes of a group that are more than an entry nobody has waited for yet: proc_pid_stat(5).
function livingMembers(group: number): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const text = readFileSync(`/proc/${pid}/stat`, "utf8");
      const [state, , pgrp] = text.slice(text.lastIndexOf(")") + 2).split(" ");
      return Number(pgrp) === group && state !== "Z" && state !== "X";
    } catch {
      return false; // ended meanwhile
    }
  });
}
