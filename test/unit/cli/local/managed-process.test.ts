import { expect } from "chai";

import {
  describeEnding,
  endingExitCode,
  ManagedProcess,
  processFailure,
} from "../../../../cli/local/managed-process.ts";

function shell(line: string): { program: ManagedProcess; lines: string[] } {
  const lines: string[] = [];
  const program = new ManagedProcess({
    name: "test",
    argv: ["/bin/sh", "-c", line],
    env: process.env,
    onLine: (text, stream) => lines.push(`${stream}: ${text}`),
  });
  return { program, lines };
}

describe("ManagedProcess", function () {
  it("should hand on both outputs line by line, and the exit code", async function () {
    const { program, lines } = shell("echo one; echo two >&2; printf three; exit 3");
    const ending = await program.ended;
    expect(endingExitCode(ending)).to.equal(3);
    expect(lines).to.have.members(["stdout: one", "stderr: two", "stdout: three"]);
  });

  it("should report a program that is not there as 127", async function () {
    const program = new ManagedProcess({ name: "x", argv: ["/nowhere/x"], env: {} });
    const ending = await program.ended;
    expect(endingExitCode(ending)).to.equal(127);
    expect(describeEnding(ending)).to.match(/could not be started: .*ENOENT/);
    await program.stop(0);
  });

  it("should stop the program and its children", async function () {
    const { program, lines } = shell("sleep 60 & echo $!; wait");
    while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await program.stop(1000);
    const child = Number(lines[0]?.replace("stdout: ", ""));
    expect(isRunning(child)).to.be.false;
    expect(describeEnding(await program.ended)).to.equal("was ended by SIGTERM");
  });

  it("should kill what does not listen to SIGTERM", async function () {
    const { program, lines } = shell("trap '' TERM; echo ready; while :; do sleep 60; done");
    while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await program.stop(50);
    expect(endingExitCode(await program.ended)).to.equal(137);
  });
});

describe("processFailure()", function () {
  it("should name the state and the last words", async function () {
    const { program } = shell("echo cannot bind >&2; exit 1");
    await program.ended;
    expect(processFailure(program, "does not accept").message).to.equal(
      "test does not accept; it ended with code 1; its last words: cannot bind",
    );
  });
});

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
