import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { PodProcesses } from "../../../agent/processes.ts";

const A = "2c48913c-b29f-11e7-9350-020968147796";
const B = "b33b9af4-e0c2-4f5e-8c37-1f9f3f2f4e0b";
/** More than it takes until every process was looked at again. */
const MANY_SCANS = 40;

describe("PodProcesses", function () {
  let proc: string;
  let processes: PodProcesses;

  /** A process as /proc shows it. */
  function put(
    pid: number,
    { pod, startTime = 100, state = "S" }: { pod?: string; startTime?: number; state?: string },
  ): void {
    const folder = join(proc, String(pid));
    mkdirSync(folder, { recursive: true });
    const before = `${pid} (a) S 1 (b c) ${state} 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0`;
    writeFileSync(join(folder, "stat"), `${before} ${startTime} 99 100\n`);
    const cgroup = pod === undefined ? "/system.slice/sshd.service" : `/kubepods/pod${pod}/x`;
    writeFileSync(join(folder, "cgroup"), `0::${cgroup}\n`);
  }

  function remove(pid: number): void {
    rmSync(join(proc, String(pid)), { recursive: true });
  }

  function pidsOf(pod: string): number[] {
    return processes.of(pod).map(({ pid }) => pid);
  }

  beforeEach(function () {
    proc = mkdtempSync(join(tmpdir(), "shimmy-proc-"));
    processes = new PodProcesses({ proc });
    // What else is there is no process.
    for (const name of ["self", "sys", "1x"]) mkdirSync(join(proc, name));
  });

  afterEach(function () {
    rmSync(proc, { recursive: true });
  });

  it("should find the processes of each pod, the oldest first", async function () {
    put(1, {});
    put(20, { pod: A, startTime: 7 });
    put(30, { pod: A, startTime: 5 });
    put(40, { pod: B });
    await processes.scan();
    expect(processes.of(A)).to.deep.equal([
      { pid: 30, startTime: 5, pod: A },
      { pid: 20, startTime: 7, pod: A },
    ]);
    expect(pidsOf(B)).to.deep.equal([40]);
    expect(pidsOf("none")).to.deep.equal([]);
    expect(processes.size).to.equal(4);
  });

  it("should find what is new, and forget what has ended", async function () {
    put(20, { pod: A });
    await processes.scan();
    put(21, { pod: A });
    remove(20);
    await processes.scan();
    expect(pidsOf(A)).to.deep.equal([21]);
    remove(21);
    await processes.scan();
    expect(processes.size).to.equal(0);
  });

  it("should find a process that is moved to its pod's cgroup after it started", async function () {
    put(20, {});
    await processes.scan();
    put(20, { pod: A });
    await processes.scan();
    expect(pidsOf(A)).to.deep.equal([20]);
  });

  it("should not be told an old process from a new one with its number", async function () {
    put(20, { pod: A, startTime: 5 });
    await processes.scan();
    const [process] = processes.of(A);
    if (process === undefined) throw new Error("not found");
    expect(processes.isAlive(process)).to.equal(true);
    put(20, { pod: A, startTime: 6 });
    expect(processes.isAlive(process)).to.equal(false);
    remove(20);
    expect(processes.isAlive(process)).to.equal(false);
  });

  it("should take no process that only waits for its parent", async function () {
    put(20, { pod: A, state: "Z" });
    await processes.scan();
    expect(pidsOf(A)).to.deep.equal([]);
    put(21, { pod: A });
    await processes.scan();
    const [process] = processes.of(A);
    put(21, { pod: A, state: "Z" });
    expect(process !== undefined && processes.isAlive(process)).to.equal(false);
  });

  it("should notice in time that a number is another process's", async function () {
    put(20, { pod: A, startTime: 5 });
    put(30, {});
    for (let i = 0; i < MANY_SCANS; i++) await processes.scan();
    put(20, { pod: B, startTime: 6 });
    put(30, { pod: A, startTime: 7 });
    for (let i = 0; i < MANY_SCANS; i++) await processes.scan();
    expect(pidsOf(A)).to.deep.equal([30]);
    expect(processes.of(B)).to.deep.equal([{ pid: 20, startTime: 6, pod: B }]);
  });

  it("should take nothing for a process that it cannot read", async function () {
    mkdirSync(join(proc, "20"));
    put(21, { pod: A });
    writeFileSync(join(proc, "21", "stat"), "21 (x");
    put(22, { pod: A });
    writeFileSync(join(proc, "22", "stat"), "22 (x) S 1 2 3\n");
    put(23, { pod: A });
    writeFileSync(join(proc, "23", "cgroup"), `0::/kubepods/pod${A}/kubepods/pod${B}\n`);
    await processes.scan();
    expect([...pidsOf(A), ...pidsOf(B)]).to.deep.equal([]);
  });

  it("should scan once for two that ask at a time", async function () {
    put(20, { pod: A });
    expect(processes.scan()).to.equal(processes.scan());
    await processes.scan();
    expect(pidsOf(A)).to.deep.equal([20]);
  });

  it("should read the real /proc", async function () {
    const real = new PodProcesses();
    await real.scan();
    expect(real.size).to.be.above(1);
  });
});
