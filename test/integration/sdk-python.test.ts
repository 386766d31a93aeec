import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { PYTHON } from "../conformance/driver.ts";
import { AgentProcess } from "../helpers/agent-process.ts";
import { mustRun } from "../helpers/run-program.ts";

const ROOT = join(import.meta.dirname, "../..");
const TESTS = join(ROOT, "sdk/python/tests");
const PODS = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
`;

describe("Python SDK", function () {
  this.timeout(60_000);
  let agent: AgentProcess;
  let folder: string;
  let wheel: string;

  before(async function () {
    folder = mkdtempSync(join(tmpdir(), "shimmy-python-"));
    const { stdout } = await mustRun(["bash", join(ROOT, "scripts/build-python.sh")]);
    wheel = join(ROOT, stdout.trim().split("\n").at(-1) ?? "");
    const options = ["--quiet", "--no-index", "--no-deps", "--root-user-action=ignore"];
    await mustRun([PYTHON, "-m", "pip", "install", ...options, "--target", folder, wheel]);
  });

  beforeEach(async function () {
    agent = new AgentProcess(PODS);
    await agent.start();
  });

  afterEach(async function () {
    await agent.close();
  });

  after(function () {
    rmSync(folder, { recursive: true, force: true });
  });

  function socketOf(pod: string): string {
    return join(agent.podDirectory(pod), "fd.sock");
  }

  function python(args: readonly string[], pod = "a"): Promise<{ stdout: string }> {
    return mustRun([PYTHON, "-X", "faulthandler", "-W", "error::ResourceWarning", ...args], {
      env: {
        PYTHONPATH: `${folder}:${TESTS}`,
        PYTHONDONTWRITEBYTECODE: "1",
        SHIMMY_FD_SOCKET: socketOf(pod),
        SHIMMY_TEST_SOCKETS: `${socketOf("a")}:${socketOf("b")}`,
      },
    });
  }

  const source = readFileSync(join(TESTS, "test_sdk.py"), "utf8");
  for (const [, name = ""] of source.matchAll(/^ {4}def (test_\w+)\(/gm)) {
    it(`should pass ${name}`, async function () {
      await python(["-m", "unittest", `test_sdk.SdkTest.${name}`]);
    });
  }

  it("should make the same wheel again", async function () {
    const first = readFileSync(wheel);
    await mustRun(["bash", join(ROOT, "scripts/build-python.sh")]);
    expect(readFileSync(wheel).equals(first)).to.be.true;
  });

  it("should bring its library, and need no symbol newer than Python 3.11's", async function () {
    const extension = join(folder, "shimmy_ipc/_shimmy.abi3.so");
    const { stdout: dynamic } = await mustRun(["readelf", "-d", extension]);
    expect(dynamic)
      .to.match(/R(?:UN)?PATH.*\[\$ORIGIN:?\]/)
      .and.include("[libshimmy.so.1]");
    const { stdout: symbols } = await mustRun(["nm", "-D", "--defined-only", extension]);
    expect(symbols.trim().split("\n")).to.have.lengthOf(1);
    expect(symbols).to.include("T PyInit__shimmy");
  });

  it("should run the example of jobs", async function () {
    const example = (name: string): string => join(ROOT, "examples/python", name);
    const [{ stdout }] = await Promise.all([
      python([example("consumer.py"), "jobs"], "b"),
      python([example("producer.py"), "jobs", "100"]),
    ]);
    expect(stdout).to.equal(Array.from({ length: 100 }, (_, i) => `job ${i}\n`).join(""));
  });

  it("should run the example of frames in numpy and asyncio", async function () {
    const example = (name: string): string => join(ROOT, "examples/python", name);
    const [{ stdout }] = await Promise.all([
      python([example("subscriber.py"), "frames"], "b"),
      python([example("publisher.py"), "frames", "20"]),
    ]);
    expect(stdout).to.equal("20 frames, none missed, mean brightness 9.5\n");
  });
});
