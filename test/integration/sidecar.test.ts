import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { execFile } from "node:child_process";

import { expect } from "chai";

import type { SessionsReply, StatusReply } from "../../sidecar/status.ts";
import { PACKAGE_ROOT } from "../../common/version.ts";
import { eventually } from "../helpers/eventually.ts";
import { LocalMesh } from "../helpers/local-mesh.ts";

const run = promisify(execFile);
const WEB_PORT = 8080;
const LOCAL_PORT = 9001;
const MIB = 1024 ** 2;

describe("sidecar", function () {
  this.timeout(30_000);
  let mesh: LocalMesh;
  let web: Server;
  let sockets: Socket[];

  before(function () {
    this.timeout(120_000);
    // The memory that is measured is that of what production runs.
    execFileSync("bash", ["scripts/build-dist.sh"], { cwd: PACKAGE_ROOT });
  });

  beforeEach(async function () {
    sockets = [];
    mesh = await LocalMesh.start({
      pods: {
        client: {
          upstreams: `web:${LOCAL_PORT}, nowhere:9002`,
          env: { SHIMMY_DRAIN_TIMEOUT: "20s", SHIMMY_LOG_LEVEL: "info" },
        },
        server: { ports: [WEB_PORT] },
      },
      services: [{ name: "web", ports: [{ port: 80, targetPort: WEB_PORT }], pods: ["server"] }],
    });
    web = createServer((request, response) => {
      request.pipe(response);
      if (request.method === "GET") response.end("hello");
    });
    await once(web.listen(WEB_PORT, mesh.address("server")), "listening");
  });

  afterEach(async function () {
    for (const socket of sockets) socket.destroy();
    web.closeAllConnections();
    web.close();
    await mesh.close();
  });

  async function curl(...words: readonly string[]): Promise<string> {
    const url = `http://${mesh.address("client")}:${LOCAL_PORT}/`;
    const { stdout } = await run("curl", ["-sS", "--max-time", "10", ...words, url]);
    return stdout;
  }

  async function status(pod: string): Promise<StatusReply> {
    return JSON.parse((await mesh.get(pod, "/v1/status")) ?? "null") as StatusReply;
  }

  /** Waits until the client's sidecar and the agent have found each other. */
  async function connected(connects: number): Promise<void> {
    await eventually("the agent", async () => {
      const { agent, upstreams } = await status("client");
      const isKnown = upstreams.some(({ endpoints }) => endpoints.length > 0);
      return agent.connected && agent.connects === connects && isKnown;
    });
  }

  /** A connection that is kept, through which a request was answered. */
  async function openConnection(): Promise<Socket> {
    const socket = connect(LOCAL_PORT, mesh.address("client"));
    sockets.push(socket);
    await request(socket);
    return socket;
  }

  /** What a connection ends with: an error, or `undefined` when it ends in order. */
  async function lost(socket: Socket): Promise<unknown> {
    let error: unknown;
    socket.on("error", (err) => {
      error = err;
    });
    await new Promise((resolve) => socket.resume().once("close", resolve));
    return error;
  }

  async function request(socket: Socket): Promise<void> {
    socket.write("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    const [reply] = (await once(socket, "data")) as [Buffer];
    expect(reply.toString()).to.match(/^HTTP\/1.1 200 OK/);
  }

  it("should carry what curl sends through shared memory", async function () {
    await connected(1);
    for (let i = 0; i < 5; i++) expect(await curl()).to.equal("hello");
    const body = "x".repeat(100_000);
    expect(await curl("--data", body)).to.equal(body);
    await mesh.assertCarried("client", 6);
    const metrics = await mesh.metrics("client");
    const sent = metrics.sum("shimmy_bytes_total", { direction: "sent", transport: "shm" });
    expect(sent).to.be.above(body.length);
    expect(metrics.sum("shimmy_fallbacks_total")).to.equal(0);
    const server = await mesh.metrics("server");
    expect(server.sum("shimmy_connections_total", { direction: "inbound" })).to.equal(6);
    expect(server.sum("shimmy_stream_setup_seconds_count")).to.equal(0);
    expect(metrics.sum("shimmy_stream_setup_seconds_count")).to.equal(6);
  });

  it("should say why an upstream cannot be called", async function () {
    await connected(1);
    const { upstreams } = await status("client");
    expect(upstreams[1]?.problem).to.equal("service default/nowhere does not exist");
  });

  it("should keep its streams and its session while the agent restarts", async function () {
    await connected(1);
    const socket = await openConnection();
    const sessions = async (): Promise<string[]> => {
      const text = await mesh.get("client", "/v1/sessions");
      return (JSON.parse(text ?? "") as SessionsReply).sessions.map(({ id }) => id);
    };
    const before = await sessions();
    await mesh.kill("agent");
    await eventually("the loss to be seen", async () => !(await status("client")).agent.connected);
    await request(socket);
    expect(await curl()).to.equal("hello");

    await mesh.startAgent();
    await connected(2);
    await request(socket);
    expect(await curl()).to.equal("hello");
    expect(await sessions()).to.deep.equal(before);
    await mesh.assertCarried("client", 3);
  });

  it("should refuse connections without an agent, be ready, and find the next one", async function () {
    await mesh.kill("client");
    await mesh.kill("agent");
    const started = performance.now();
    await mesh.startSidecar("client"); // ready after 2 s at most
    expect(performance.now() - started).to.be.within(1900, 6000);
    const { upstreams, agent } = await status("client");
    expect(upstreams[0]?.problem).to.equal("the agent cannot be reached, and alone knows the pods");
    expect(agent.error).to.match(/ENOENT|ECONNREFUSED/);
    const failure: unknown = await curl().catch((err: unknown) => err);
    expect(failure).to.have.property("code").that.is.oneOf([7, 52, 56]);

    await mesh.startAgent();
    await connected(1);
    expect(await curl()).to.equal("hello");
  });

  it("should keep out of shared memory what is capped", async function () {
    await mesh.kill("client");
    mesh.writeCatalog({
      pods: {
        client: { upstreams: `web:${LOCAL_PORT}?transport=tcp` },
        server: { ports: [WEB_PORT] },
      },
    });
    await mesh.startSidecar("client");
    await connected(1);
    expect(await curl()).to.equal("hello");
    expect(await mesh.carried("client")).to.deep.include({
      tcp: 1,
      shm: 0,
      fallbacks: { disabled: 1 },
    });
  });

  it("should reset streams whose grant is taken back, and go on over TCP", async function () {
    await connected(1);
    const cut = lost(await openConnection());
    await mesh.assertCarried("client", 1);
    mesh.writeCatalog({ deny: [{ from: "default/client", to: "default/web" }] });
    const denied = performance.now();
    expect(await cut).to.have.property("code", "ECONNRESET");
    expect(performance.now() - denied).to.be.below(5000);
    expect(await curl()).to.equal("hello");
    const { shm, tcp, fallbacks } = await mesh.carried("client");
    expect({ shm, tcp, fallbacks }).to.deep.equal({
      shm: 0,
      tcp: 1,
      fallbacks: { policy_denied: 1 },
    });
    // Both are told; whoever is first resets the stream for the other.
    const ends = await Promise.all(["client", "server"].map((pod) => mesh.metrics(pod)));
    const revoked = ends.map((end) =>
      end.sum("shimmy_connection_ends_total", { reason: "revoked" }),
    );
    expect(revoked).to.include(1);
  });

  it("should do without a peer's sidecar, and use the next one", async function () {
    await connected(1);
    const cut = lost(await openConnection());
    await mesh.assertCarried("client", 1);
    await mesh.kill("server");
    expect(await cut).to.have.property("code", "ECONNRESET");
    expect(await curl()).to.equal("hello");
    expect((await mesh.carried("client")).tcp).to.equal(1);
    const metrics = await mesh.metrics("client");
    expect(metrics.sum("shimmy_session_ends_total", { reason: "peer_gone" })).to.equal(1);

    await mesh.startSidecar("server");
    await eventually("shared memory to be used again", async () => {
      expect(await curl()).to.equal("hello");
      return (await mesh.carried("client")).shm > 0;
    });
  });

  describe("told to stop", function () {
    it("should not be ready, refuse connections, and wait for those there are", async function () {
      await connected(1);
      const socket = await openConnection();
      mesh.process("client").signal("SIGHUP"); // changes nothing
      mesh.process("client").signal("SIGTERM");
      await eventually("draining", async () => (await status("client")).draining);
      expect(await mesh.get("client", "/readyz")).to.equal(undefined);
      const refused: unknown = await curl().catch((err: unknown) => err);
      expect(refused).to.have.property("code", 7);
      await request(socket);
      socket.end();
      expect(await mesh.process("client").ended).to.deep.equal({ code: 0 });
    });

    it("should end at once at the second signal", async function () {
      await connected(1);
      const ended = lost(await openConnection());
      mesh.process("client").signal("SIGTERM");
      await eventually("draining", async () => (await status("client")).draining);
      mesh.process("client").signal("SIGTERM");
      expect(await mesh.process("client").ended).to.deep.equal({ code: 1 });
      expect(await ended, "what was cut off must not look complete").to.include({
        code: "ECONNRESET",
      });
    });
  });

  it("should say in one line that its port is taken", async function () {
    await mesh.kill("client");
    const other = createServer();
    await once(other.listen(LOCAL_PORT, mesh.address("client")), "listening");
    try {
      await mesh.startSidecar("client", { awaitReady: false });
      const ending = await mesh.process("client").ended;
      expect(ending).to.deep.equal({ code: 1 });
      const lines = mesh.process("client").lastLines.filter((line) => !line.startsWith("{"));
      expect(lines).to.have.length(1);
      expect(lines[0]).to.include("upstream default/web: listen on");
    } finally {
      other.close();
    }
  });

  it("should need at most 30 MiB of its own and 90 MiB resident without traffic", async function () {
    await connected(1);
    for (let i = 0; i < 100; i++) await mesh.metrics("client");
    await delay(500);
    const { anonymousBytes, residentBytes } = mesh.snapshot().get("client") ?? {};
    console.log(
      `      anonymous ${format(anonymousBytes)} MiB, resident ${format(residentBytes)} MiB`,
    );
    expect(anonymousBytes).to.be.below(30 * MIB);
    expect(residentBytes).to.be.below(90 * MIB);
  });
});

function format(bytes = Number.NaN): string {
  return (bytes / MIB).toFixed(1);
}
