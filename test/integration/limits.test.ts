import { expect } from "chai";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

import { startAppMesh, type AppMesh } from "../helpers/apps.ts";
import { awaitBaseline } from "../helpers/baseline.ts";
import type { LocalMeshOptions } from "../helpers/local-mesh.ts";
import { cpuSeconds } from "../helpers/process-snapshot.ts";
import { mustRun } from "../helpers/run-program.ts";

const MIB = 1024 * 1024;
const MANY = 120;
/** Descriptors that a sidecar gets beyond those it has. */
const FEW_FDS = 24;

describe("limits of a sidecar", function () {
  let apps: AppMesh;
  let server: Server;
  const sockets = new Set<Socket>();

  afterEach(async function () {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    server.close();
    await apps.mesh.close();
  });

  it("should be kept by TCP connections when the memory for rings is used up", async function () {
    this.timeout(30_000);
    await start({ env: { SHIMMY_RING_BUDGET: "1Mi" } });
    const { mesh } = apps;
    expect(await echoOnce()).to.be.true;
    await mesh.awaitQuiet();
    const before = mesh.snapshot();
    await mesh.carried("client");

    const many = Array.from({ length: MANY }, open);
    expect(await Promise.all(many.map((socket) => echo(socket)))).to.not.include(false);
    const seen = await mesh.carried("client");
    expect(seen.accepted).to.equal(MANY);
    expect(seen.shm).to.be.within(20, MANY - 1);
    expect(seen.fallbacks).to.deep.equal({ quota: seen.tcp });
    for (const pod of ["client", "server"]) {
      const bytes = (await mesh.metrics(pod)).sum("shimmy_ring_bytes", { owner: "own" });
      expect(bytes, pod).to.be.within(20 * 20_480, MIB);
    }

    for (const socket of many) socket.destroy();
    await mesh.awaitQuiet();
    await awaitBaseline(mesh, before);
    expect(await echoOnce()).to.be.true;
    await mesh.assertCarried("client", 1);
  });

  it("should refuse connections beyond the largest number, and serve again below", async function () {
    this.timeout(30_000);
    await start({ env: { SHIMMY_MAX_CONNECTIONS: "50" } });
    const many = Array.from({ length: MANY }, open);
    const served = await Promise.all(many.map((socket) => echo(socket)));
    expect(served.filter(Boolean)).to.have.lengthOf(50);
    for (const socket of many) socket.destroy();
    await apps.mesh.awaitQuiet();
    await apps.mesh.carried("client");
    expect(await echoOnce()).to.be.true;
    await apps.mesh.assertCarried("client", 1);
  });

  for (const pod of ["client", "server"] as const) {
    it(`should pass when the sidecar of the ${pod} has no descriptors left`, async function () {
      this.timeout(30_000);
      await start();
      const { mesh } = apps;
      expect(await echoOnce()).to.be.true;
      await mesh.awaitQuiet();
      const before = mesh.snapshot();
      await limitFiles(mesh.pid(pod), (before.get(pod)?.fds ?? 0) + FEW_FDS);

      const many = Array.from({ length: MANY }, open);
      const served = await Promise.all(many.map((socket) => echo(socket, 2000)));
      expect(served.filter(Boolean).length).to.be.within(5, MANY);
      const used = cpuSeconds(mesh.pid(pod));
      await delay(1000); // an interval to measure
      expect(cpuSeconds(mesh.pid(pod)) - used, "CPU seconds in one").to.be.below(0.5);

      for (const socket of many) socket.destroy();
      await limitFiles(mesh.pid(pod), 10_000);
      await mesh.awaitQuiet();
      await awaitBaseline(mesh, before);
      await mesh.carried("client");
      expect(await echoOnce()).to.be.true;
      await mesh.assertCarried("client", 1);
    });
  }

  async function start(options: Partial<LocalMeshOptions> = {}): Promise<void> {
    apps = await startAppMesh({ echo: 7000 }, options);
    const { address, port } = apps.server("echo");
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined); // its client is the one that is looked at
      socket.pipe(socket);
    });
    server.listen(port, address);
    await once(server, "listening");
  }

  async function echoOnce(): Promise<boolean> {
    const socket = open();
    const result = await echo(socket);
    socket.destroy();
    return result;
  }

  function open(): Socket {
    const { address: host, port } = apps.local("echo");
    const socket = connect({ host, port });
    sockets.add(socket);
    socket.on("error", () => undefined); // echo() says so
    return socket;
  }
});

/** Whether what is sent comes back: not when the connection ends, or is not served in time. */
async function echo(socket: Socket, timeoutMs = 10_000): Promise<boolean> {
  const sent = "hello, is anybody there?";
  return new Promise((resolve) => {
    let received = "";
    const timer = setTimeout(finish, timeoutMs, false);
    socket.on("data", (data) => {
      received += data.toString();
      if (received === sent) finish(true);
    });
    socket.once("close", () => {
      finish(false);
    });
    socket.write(sent);
    function finish(result: boolean): void {
      clearTimeout(timer);
      resolve(result);
    }
  });
}

async function limitFiles(pid: number, count: number): Promise<void> {
  await mustRun(["prlimit", "--pid", String(pid), `--nofile=${count}:`]);
}
