import { join } from "node:path";

import { expect } from "chai";

import { AgentProcess } from "../helpers/agent-process.ts";
import { mustRun } from "../helpers/run-program.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples/channels");
const PODS = `
pods:
  - { name: writer, address: 127.0.1.1 }
  - { name: reader, address: 127.0.1.2 }
`;

describe("examples/channels", function () {
  this.timeout(20_000);
  let agent: AgentProcess;

  beforeEach(async function () {
    agent = new AgentProcess(PODS);
    await agent.start();
  });

  afterEach(async function () {
    await agent.close();
  });

  async function run(pod: string, example: string, ...args: string[]): Promise<string> {
    const env = { SHIMMY_FD_SOCKET: join(agent.podDirectory(pod), "fd.sock") };
    const argv = [process.execPath, join(EXAMPLES, example), ...args];
    return (await mustRun(argv, { env, timeoutMs: 15_000 })).stdout;
  }

  it("should do each job once", async function () {
    const outputs = await Promise.all([
      run("writer", "produce.ts", "jobs", "500"),
      run("reader", "consume.ts", "jobs"),
    ]);
    expect(outputs).to.deep.equal(["500 jobs were consumed\n", "did 500 jobs\n"]);
  });

  it("should show frames in place", async function () {
    const [output] = await Promise.all([
      run("reader", "watch-frames.ts", "frames"),
      run("writer", "publish-frames.ts", "frames", "50"),
    ]);
    const [, seen, missed] = /saw (\d+) frames, missed (\d+)/.exec(output) ?? [];
    expect(Number(seen) + Number(missed), output).to.equal(50);
    expect(Number(seen)).to.be.greaterThan(0);
  });
});
