import { expect } from "chai";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

import { startAppMesh, type AppMesh } from "../helpers/apps.ts";
import { eventually } from "../helpers/eventually.ts";
import { processState } from "../helpers/process-snapshot.ts";

/** Connections are answered within the time for opening a stream, 1 s, and some. */
const ANSWERED_WITHIN_MS = 4000;
const CONNECTIONS = 20;

describe("Shimmy's processes that do not answer", function () {
  let apps: AppMesh;
  let server: Server;
  const sockets = new Set<Socket>();

  beforeEach(async function () {
    this.timeout(30_000);
    apps = await startAppMesh({ echo: 7000 });
    const { address, port } = apps.server("echo");
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined); // its client is the one that is looked at
      socket.pipe(socket);
    });
    server.listen(port, address);
    await once(server, "listening");
  });

  afterEach(async function () {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    server.close();
    await apps.mesh.close();
  });

  it("should send connections over TCP while the agent is gone, and carry them when it is back", async function () {
    this.timeout(30_000);
    const { mesh } = apps;
    await mesh.kill("agent"); // before there is a session
    await mesh.carried("client");
    expect(await echoMany()).to.be.true;
    const { tcp, fallbacks } = await mesh.carried("client");
    expect({ tcp, fallbacks }).to.deep.equal({
      tcp: CONNECTIONS,
      fallbacks: { agent_unavailable: CONNECTIONS },
    });
    await mesh.startAgent();
    await eventually("connections to be carried", async () => {
      await mesh.carried("client");
      expect(await echoMany()).to.be.true;
      return (await mesh.carried("client")).shm === CONNECTIONS;
    });
  });

  it("should send connections over TCP while the other sidecar stands still, and carry them when it goes on", async function () {
    this.timeout(30_000);
    const { mesh } = apps;
    expect(await echoMany()).to.be.true;
    await mesh.assertCarried("client", CONNECTIONS);
    mesh.process("server").signal("SIGSTOP");
    await eventually("the sidecar to stand still", () => processState(mesh.pid("server")) === "T");
    expect(await echoMany()).to.be.true;
    const seen = await mesh.carried("client");
    expect(seen).to.include({ accepted: CONNECTIONS, tcp: CONNECTIONS, failed: 0 });
    expect(Object.values(seen.fallbacks)).to.deep.equal([CONNECTIONS]);
    mesh.process("server").signal("SIGCONT");
    await eventually("connections to be carried", async () => {
      await mesh.carried("client");
      expect(await echoMany()).to.be.true;
      return (await mesh.carried("client")).shm === CONNECTIONS;
    });
  });

  it("should send connections over TCP to a pod whose sidecar is gone", async function () {
    this.timeout(30_000);
    const { mesh } = apps;
    expect(await echoMany()).to.be.true;
    await mesh.kill("server");
    await mesh.carried("client");
    expect(await echoMany()).to.be.true;
    const seen = await mesh.carried("client");
    expect(seen).to.include({ accepted: CONNECTIONS, tcp: CONNECTIONS, failed: 0 });
  });

  /** Whether all connections were served in time. */
  async function echoMany(): Promise<boolean> {
    const started = performance.now();
    const { address: host, port } = apps.local("echo");
    const results = await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        const socket = connect({ host, port });
        sockets.add(socket);
        socket.on("error", () => undefined); // "close" follows
        const answer = new Promise<string>((resolve) => {
          socket.once("data", (data) => {
            resolve(data.toString());
          });
          socket.once("close", () => {
            resolve("");
          });
        });
        socket.write("hello");
        const text = await answer;
        socket.destroy();
        return text === "hello";
      }),
    );
    expect(performance.now() - started).to.be.below(ANSWERED_WITHIN_MS);
    return results.every(Boolean);
  }
});
