import { expect } from "chai";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

import type { HealthReply } from "../../agent/api.ts";
import { eventually } from "../helpers/eventually.ts";
import { LocalMesh } from "../helpers/local-mesh.ts";
import { Random, scaled, testSeed } from "../helpers/random.ts";
import { expectNone, explain } from "../helpers/traffic/explain.ts";
import { generateCleanCase } from "../helpers/traffic/generate.ts";
import { judgeCutOff } from "../helpers/traffic/judge.ts";
import { buildTrafficPeer, killTrafficPeers, TrafficPeer } from "../helpers/traffic/peer.ts";
import { ALL_PORTS, PORT_COUNT, SERVER_PORT, SteadyTraffic } from "../helpers/traffic/run-cases.ts";
import { trafficMesh, viaMesh } from "../helpers/traffic/traffic-mesh.ts";

/** Both sidecars reset what a revoked grant allowed within this time (docs/architecture.md). */
const REVOKED_WITHIN_MS = 5000;
const STREAMS = 20;
const CHANGES = scaled(10);
const DENY = [{ from: "default/client", to: "default/echo" }];

describe("policy", function () {
  let mesh: LocalMesh;
  let server: Server;
  const sockets = new Set<Socket>();

  before(async function () {
    this.timeout(30_000);
    mesh = await LocalMesh.start({
      pods: {
        client: { upstreams: "echo:9001" },
        stranger: { namespace: "other", upstreams: "echo.default:9001" },
        server: {},
      },
      services: [{ name: "echo", ports: [{ port: 7000 }], pods: ["server"] }],
    });
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined); // its client is the one that is looked at
      socket.pipe(socket);
    });
    server.listen(7000, mesh.address("server"));
    await once(server, "listening");
  });

  afterEach(async function () {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    mesh.writeCatalog({ deny: [], connections: [] });
    await mesh.awaitQuiet();
  });

  after(async function () {
    server.close();
    await mesh.close();
  });

  it("should reset streams whose grant is taken back, and send new connections over TCP", async function () {
    this.timeout(20_000);
    const streams = Array.from({ length: STREAMS }, () => open("client"));
    expect(await Promise.all(streams.map(echo))).to.not.include(false);
    const ends = streams.map((socket) => once(socket, "error"));
    const revoked = performance.now();
    mesh.writeCatalog({ deny: DENY });
    for (const [err] of (await Promise.all(ends)) as [NodeJS.ErrnoException][]) {
      expect(err.code).to.equal("ECONNRESET");
    }
    expect(performance.now() - revoked).to.be.below(2 * REVOKED_WITHIN_MS);
    // Whichever sidecar is told first resets; the other one may see that before it is told.
    let revokedHere = 0;
    for (const pod of ["client", "server"]) {
      const metrics = await mesh.metrics(pod);
      revokedHere += metrics.sum("shimmy_connection_ends_total", { reason: "revoked" });
    }
    expect(revokedHere).to.be.within(STREAMS, 2 * STREAMS);
    expect(await transportOf("client")).to.deep.equal({ policy_denied: 1 });
  });

  it("should leave connections alone when it allows more", async function () {
    this.timeout(20_000);
    mesh.writeCatalog({ deny: DENY });
    await eventually("the connection to be denied", async () => {
      return (await transportOf("client")) !== "shm";
    });
    const overTcp = open("client");
    expect(await echo(overTcp)).to.be.true;
    mesh.writeCatalog({ deny: [] });
    await eventually("the connection to be allowed", async () => {
      return (await transportOf("client")) === "shm";
    });
    expect(await echo(overTcp)).to.be.true;
  });

  it("should give other namespaces shared memory only where it is granted", async function () {
    this.timeout(20_000);
    expect(await transportOf("stranger")).to.deep.equal({ policy_denied: 1 });
    mesh.writeCatalog({ connections: [{ from: "other/stranger", to: "default/echo" }] });
    await eventually("the connection to be allowed", async () => {
      return (await transportOf("stranger")) === "shm";
    });
  });

  it("should stay as it is while the catalog cannot be read", async function () {
    this.timeout(20_000);
    const stream = open("client");
    expect(await echo(stream)).to.be.true;
    writeFileSync(mesh.workspace.path("catalog.yaml"), "pods: [{ name: no }]\n");
    await eventually("the agent to refuse it", async () => {
      const health = JSON.parse((await mesh.getFromAgent("/v1/health")) ?? "{}") as HealthReply;
      return health.catalog.error !== undefined;
    });
    expect(await echo(stream)).to.be.true;
    expect(await transportOf("client")).to.equal("shm");
  });

  /** How a new connection is carried: `shm`, or why it is not. */
  async function transportOf(pod: string): Promise<"shm" | Readonly<Record<string, number>>> {
    await mesh.carried(pod);
    const socket = open(pod);
    expect(await echo(socket)).to.be.true;
    socket.destroy();
    const { shm, fallbacks } = await mesh.carried(pod);
    return shm === 1 ? "shm" : fallbacks;
  }

  function open(pod: string): Socket {
    const socket = connect({ host: mesh.address(pod), port: 9001 });
    sockets.add(socket);
    return socket;
  }
});

describe("policy that changes under traffic", function () {
  const seed = testSeed();
  let mesh: LocalMesh;

  before(async function () {
    this.timeout(60_000);
    console.log(`    SHIMMY_TEST_SEED=${seed}`);
    buildTrafficPeer();
    mesh = await trafficMesh();
  });

  after(async function () {
    await killTrafficPeers();
    await mesh.close();
  });

  it("should end streams or leave them alone, and never change a byte", async function () {
    this.timeout(CHANGES * 10_000);
    const random = new Random(`${seed}/policy`);
    const address = mesh.address("server");
    const pair = {
      client: await TrafficPeer.client(),
      server: await TrafficPeer.server(address, SERVER_PORT, PORT_COUNT),
    };
    const make = (number: number): ReturnType<typeof generateCleanCase> =>
      generateCleanCase(seed, number);
    const steady = new SteadyTraffic(pair, viaMesh(mesh), make, ALL_PORTS);
    await mesh.carried("client");
    let shm = 0;
    let tcp = 0;
    for (let change = 0; change < CHANGES; change++) {
      const isDenied = change % 2 === 0;
      mesh.writeCatalog({
        deny: isDenied ? [{ from: "default/client", to: "default/traffic" }] : [],
      });
      await eventually(
        `connections ${isDenied ? "over TCP" : "through shared memory"}`,
        async () => {
          const seen = await mesh.carried("client");
          shm += seen.shm;
          tcp += seen.tcp;
          return isDenied ? seen.tcp > 0 && seen.shm === 0 : seen.shm > 0 && seen.tcp === 0;
        },
      );
      await delay(random.integer(0, 200)); // to change at any time
    }
    const seen = await steady.stop();
    expectNone(
      seen.flatMap(({ traffic, records }) =>
        explain(traffic, records, judgeCutOff(traffic, records)),
      ),
    );
    expect([shm > 0, tcp > 0]).to.deep.equal([true, true]);
    await mesh.awaitQuiet();
  });
});

/** Whether what is sent comes back. */
function echo(socket: Socket): Promise<boolean> {
  const sent = `hello ${Math.random()}`;
  return new Promise((resolve) => {
    let received = "";
    socket.on("data", onData);
    socket.once("close", onClose);
    socket.write(sent);
    function onData(data: Buffer): void {
      received += data.toString();
      if (received === sent) finish(true);
    }
    function onClose(): void {
      finish(false);
    }
    function finish(result: boolean): void {
      socket.off("data", onData).off("close", onClose);
      resolve(result);
    }
  });
}
