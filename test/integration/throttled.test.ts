import { expect } from "chai";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

import { startAppMesh, type AppMesh } from "../helpers/apps.ts";
import { CpuGroup } from "../helpers/control-group.ts";
import { SLOW_SIDECAR, SLOWNESS } from "../helpers/slowness.ts";

const SHARE = 0.1;
const SECONDS = 3;
/** Seconds of spinning that are enough to tell. */
const SPINS_AT_LEAST = 0.02;
/** Emulated, an answer takes so long that a relay would hardly ever spin for it. */
const LONG_SPINS: Readonly<Record<string, string>> =
  SLOWNESS === 1 ? {} : { SHIMMY_SPIN_MICROS: "10000" };

describe("a sidecar whose CPU time is limited", function () {
  this.timeout(60_000 * SLOWNESS);
  let apps: AppMesh;
  let server: Server;
  let group: CpuGroup;
  const sockets = new Set<Socket>();

  beforeEach(async function () {
    apps = await startAppMesh({ echo: 7000 }, { env: { ...SLOW_SIDECAR, ...LONG_SPINS } });
    const { address, port } = apps.server("echo");
    server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined); // its client is the one that is looked at
      socket.pipe(socket);
    });
    server.listen(port, address);
    await once(server, "listening");
    group = CpuGroup.make("throttled");
    group.add(apps.mesh.pid("server"));
  });

  afterEach(async function () {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    server.close();
    await apps.mesh.close();
    group.remove();
  });

  it("should not spend what is left of it on spinning", async function () {
    const { mesh } = apps;
    const { address: host, port } = apps.local("echo");
    const socket = connect({ host, port, noDelay: true });
    sockets.add(socket);
    // Without a limit, or it could not answer for its counters.
    const spun = async (): Promise<number> => {
      group.unlimit();
      return (await mesh.metrics("server")).sum("shimmy_relay_spin_seconds_total");
    };
    // Nobody spins while others want the CPUs: as long as they do, there is nothing to compare with.
    let unlimited = 0;
    for (let turn = 0; turn < 5 && unlimited < SPINS_AT_LEAST; turn++) {
      const start = await spun();
      await pingFor(socket, SECONDS * 1000);
      unlimited = (await spun()) - start;
    }

    group.limit(SHARE);
    await pingFor(socket, 1000);
    const before = { spun: await spun(), periods: group.throttledPeriods() };
    group.limit(SHARE);
    const rounds = await pingFor(socket, SECONDS * 1000);
    const periods = group.throttledPeriods();
    const limited = (await spun()) - before.spun;
    await mesh.assertCarried("client", 1);
    expect(rounds).to.be.above(100 / SLOWNESS);
    expect(periods).to.be.above(before.periods);
    // With what it did not have to save it spins for most of the time that one request takes.
    expect(unlimited, "seconds spun without a limit").to.be.above(SPINS_AT_LEAST);
    expect(limited, `seconds spun, of ${unlimited} without a limit`).to.be.below(unlimited * 0.2);
  });
});

/** Sends one byte and waits for it to come back, again and again; says how often. */
async function pingFor(socket: Socket, milliseconds: number): Promise<number> {
  const until = performance.now() + milliseconds;
  let rounds = 0;
  for (; performance.now() < until; rounds++) {
    socket.write("x");
    await once(socket, "data");
  }
  return rounds;
}
