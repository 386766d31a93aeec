import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { AgentProcess } from "../helpers/agent-process.ts";
import { mustRun } from "../helpers/run-program.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples/channels");
const PODS = `
pods:
  - { name: camera, address: 127.0.1.1 }
  - { name: recorder, address: 127.0.1.2 }
`;
const SECONDS = 5;
const FRAMES = SECONDS * 24;

describe("examples/channels: video", function () {
  this.timeout(60_000);
  let agent: AgentProcess;
  let directory: string;

  beforeEach(async function () {
    agent = new AgentProcess(PODS);
    await agent.start();
    directory = mkdtempSync(join(tmpdir(), "shimmy-video-"));
  });

  afterEach(async function () {
    await agent.close();
    rmSync(directory, { recursive: true, force: true });
  });

  async function run(pod: string, example: string, file: string): Promise<string> {
    const env = { SHIMMY_FD_SOCKET: join(agent.podDirectory(pod), "fd.sock") };
    const argv = [process.execPath, join(EXAMPLES, example), "video", file, "240x160"];
    return (await mustRun(argv, { env, timeoutMs: 40_000 })).stdout;
  }

  it("should carry every frame of an H.264 video over a channel, into a file that plays", async function () {
    const [original, recorded] = [join(directory, "in.mp4"), join(directory, "out.mp4")];
    const source = `testsrc2=size=240x160:rate=24:duration=${SECONDS}`;
    const encode = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];
    await mustRun(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, ...encode, original]);
    const outputs = await Promise.all([
      run("camera", "send-video.ts", original),
      run("recorder", "record-video.ts", recorded),
    ]);
    expect(outputs).to.deep.equal([
      `sent ${FRAMES} frames, ${FRAMES} over the channel\n`,
      `recorded ${FRAMES} frames\n`,
    ]);
    const probe = [
      ...["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0"],
      ...["-show_entries", "stream=codec_name,nb_read_frames:format=duration", "-of", "json"],
    ];
    const { streams, format } = JSON.parse((await mustRun([...probe, recorded])).stdout) as {
      streams: unknown;
      format: { duration: string };
    };
    expect(streams).to.deep.equal([{ codec_name: "h264", nb_read_frames: String(FRAMES) }]);
    expect(Number(format.duration)).to.be.closeTo(SECONDS, 0.1);
    // The picture is the one that was sent, and not any other: encoding loses only a little.
    const compare = ["ffmpeg", "-nostdin", "-i", original, "-i", recorded, "-lavfi", "psnr"];
    const { stderr } = await mustRun([...compare, "-f", "null", "-"]);
    expect(Number(/average:([\d.]+)/.exec(stderr)?.[1]), stderr).to.be.greaterThan(30);
  });
});
