import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import {
  claimSocketPath,
  preparePodDirectory,
  prepareRuntimeDir,
  removePodDirectory,
  removeStalePods,
  socketMode,
} from "../../../agent/runtime-dir.ts";
import { skipBecause } from "../../helpers/skip.ts";

const POD = { namespace: "default", name: "web-1" };

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (err: unknown) => (err as { code?: unknown }).code,
  );
}

describe("runtime directory", function () {
  let base: string;
  let runtimeDir: string;
  let server: Server | undefined;

  async function listen(path: string): Promise<void> {
    server = createServer();
    await new Promise<void>((resolve) => server?.listen(path, resolve));
  }

  beforeEach(function () {
    base = mkdtempSync(join(tmpdir(), "shimmy-rt-"));
    runtimeDir = join(base, "run");
  });

  afterEach(function () {
    server?.close();
    server = undefined;
    rmSync(base, { recursive: true });
  });

  it("should be made so that others pass through and list nothing", async function () {
    await prepareRuntimeDir(runtimeDir);
    expect(modeOf(runtimeDir)).to.equal("711");
    expect(modeOf(join(runtimeDir, "pods"))).to.equal("711");
  });

  it("should be left with the mode it has when it is there", async function () {
    mkdirSync(runtimeDir, { mode: 0o700 });
    await prepareRuntimeDir(runtimeDir);
    expect(modeOf(runtimeDir)).to.equal("700");
  });

  it("should be refused when others may write to it, or it is not a directory", async function () {
    expect(await codeOf(prepareRuntimeDir("/tmp"))).to.equal("SHIMMY_ERR_RUNTIME_DIR");
    writeFileSync(join(base, "file"), "");
    expect(await codeOf(prepareRuntimeDir(join(base, "file")))).to.equal("SHIMMY_ERR_RUNTIME_DIR");
    mkdirSync(join(base, "real"));
    symlinkSync(join(base, "real"), join(base, "link"));
    expect(await codeOf(prepareRuntimeDir(join(base, "link")))).to.equal("SHIMMY_ERR_RUNTIME_DIR");
  });

  it("should be refused when it belongs to another user", async function () {
    if (process.getuid?.() !== 0) skipBecause(this, "needs root to give a directory away");
    mkdirSync(runtimeDir, { mode: 0o700 });
    chownSync(runtimeDir, 65_534, 65_534);
    expect(await codeOf(prepareRuntimeDir(runtimeDir))).to.equal("SHIMMY_ERR_RUNTIME_DIR");
  });

  it("should give a pod a directory of its own unless other users may be the pod", async function () {
    await prepareRuntimeDir(runtimeDir);
    const directory = await preparePodDirectory(runtimeDir, POD, false);
    expect(directory).to.equal(join(runtimeDir, "pods/default/web-1"));
    expect(modeOf(directory)).to.equal("700");
    await preparePodDirectory(runtimeDir, POD, true);
    expect(modeOf(directory)).to.equal("711");
    expect([socketMode(false), socketMode(true)]).to.deep.equal([0o600, 0o666]);
  });

  it("should refuse a path too long for a socket before making anything", async function () {
    await prepareRuntimeDir(runtimeDir);
    const pod = { namespace: "n".repeat(63), name: "p".repeat(63) };
    expect(await codeOf(preparePodDirectory(runtimeDir, pod, false))).to.equal(
      "SHIMMY_ERR_RUNTIME_DIR",
    );
    expect(existsSync(join(runtimeDir, "pods", pod.namespace))).to.equal(false);
  });

  it("should remove a pod's directory, and the namespace's with its last pod", async function () {
    await prepareRuntimeDir(runtimeDir);
    await preparePodDirectory(runtimeDir, POD, false);
    await preparePodDirectory(runtimeDir, { ...POD, name: "web-2" }, false);
    await removePodDirectory(runtimeDir, POD);
    expect(existsSync(join(runtimeDir, "pods/default/web-2"))).to.equal(true);
    await removePodDirectory(runtimeDir, { ...POD, name: "web-2" });
    expect(existsSync(join(runtimeDir, "pods/default"))).to.equal(false);
  });

  it("should be rid of what a killed agent left, and of nothing else", async function () {
    await prepareRuntimeDir(runtimeDir);
    const left = await preparePodDirectory(runtimeDir, POD, false);
    writeFileSync(join(left, "api.sock"), "");
    const others = await preparePodDirectory(runtimeDir, { ...POD, name: "other" }, false);
    writeFileSync(join(others, "notes.txt"), "");
    await removeStalePods(runtimeDir);
    expect(existsSync(left)).to.equal(false);
    expect(existsSync(join(others, "notes.txt"))).to.equal(true);
  });

  it("should be refused while another agent serves it", async function () {
    await prepareRuntimeDir(runtimeDir);
    const directory = await preparePodDirectory(runtimeDir, POD, false);
    await listen(join(directory, "api.sock"));
    expect(await codeOf(removeStalePods(runtimeDir))).to.equal("SHIMMY_ERR_ADDRESS_IN_USE");
    expect(existsSync(join(directory, "api.sock"))).to.equal(true);
  });

  it("should let a socket path be claimed that nobody listens on", async function () {
    const path = join(base, "free.sock");
    await claimSocketPath(path);
    await listen(path);
    expect(await codeOf(claimSocketPath(path))).to.equal("SHIMMY_ERR_ADDRESS_IN_USE");
  });
});
