import { expect } from "chai";
import { setTimeout as delay } from "node:timers/promises";

import { assertBalanced, awaitBaseline, type Held } from "../helpers/baseline.ts";
import type { LocalMesh } from "../helpers/local-mesh.ts";
import { Random, scaled, testSeed } from "../helpers/random.ts";
import { expectNone, explain } from "../helpers/traffic/explain.ts";
import { generateCleanCase } from "../helpers/traffic/generate.ts";
import { judge } from "../helpers/traffic/judge.ts";
import {
  buildTrafficPeer,
  killTrafficPeers,
  TrafficPeer,
  type TrafficRecord,
} from "../helpers/traffic/peer.ts";
import {
  ALL_PORTS,
  runCases,
  SERVER_PORT,
  SteadyTraffic,
  type Route,
  type TrafficPair,
} from "../helpers/traffic/run-cases.ts";
import type { Side } from "../helpers/traffic/script.ts";
import { trafficMesh, viaMesh } from "../helpers/traffic/traffic-mesh.ts";

const ROUNDS = scaled(30);
const SURVIVORS = ALL_PORTS.slice(0, 16);
const VICTIMS = ALL_PORTS.slice(16, 24);
/** More than moves in the time that a round lasts. */
const ENDLESS: Side = {
  lanes: [[{ op: "send", bytes: 2 ** 40 }, { op: "shutdownWrite" }], [{ op: "receiveToEnd" }]],
  end: "close",
  waiting: "blocking",
  bufferBytes: 0,
};
const MOST_PAUSE_MS = 60;
let lastId = 1_000_000; // other than those of runCases()

describe("applications that are killed", function () {
  const seed = testSeed();
  let mesh: LocalMesh;
  let route: Route;
  let survivors: TrafficPair;
  let random: Random;

  before(async function () {
    this.timeout(60_000);
    console.log(`    SHIMMY_TEST_SEED=${seed}`);
    random = new Random(`${seed}/killed`);
    buildTrafficPeer();
    mesh = await trafficMesh();
    route = viaMesh(mesh);
    const address = mesh.address("server");
    const server = await TrafficPeer.server(address, SERVER_PORT, SURVIVORS.length);
    survivors = { client: await TrafficPeer.client(), server };
  });

  after(async function () {
    await killTrafficPeers();
    await mesh.close();
  });

  it(`should show servers the end of ${ROUNDS} clients, and nothing to others`, async function () {
    this.timeout(120_000);
    const server = await TrafficPeer.server(
      mesh.address("server"),
      SERVER_PORT + SURVIVORS.length,
      VICTIMS.length,
    );
    const problems = await amongSurvivors(async () => {
      const seen: TrafficRecord[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const victim = await TrafficPeer.client();
        seen.push(...(await killDuring(victim, { client: victim, server }, "server")));
      }
      return seen;
    });
    await server.kill();
    expectNone(problems);
  });

  it(`should show clients the end of ${ROUNDS} servers, and nothing to others`, async function () {
    this.timeout(120_000);
    const client = await TrafficPeer.client();
    const problems = await amongSurvivors(async () => {
      const seen: TrafficRecord[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const victim = await TrafficPeer.server(
          mesh.address("server"),
          SERVER_PORT + SURVIVORS.length,
          VICTIMS.length,
        );
        seen.push(...(await killDuring(victim, { client, server: victim }, "client")));
      }
      return seen;
    });
    await client.kill();
    expectNone(problems);
  });

  /** Runs endless connections, kills one side after a random time, and gives the other's records. */
  async function killDuring(
    victim: TrafficPeer,
    pair: TrafficPair,
    other: "client" | "server",
  ): Promise<TrafficRecord[]> {
    const records = VICTIMS.map((port) => runEndless(pair, port, other));
    await delay(random.integer(0, MOST_PAUSE_MS)); // what is killed is to be in any state
    await victim.kill();
    return (await Promise.all(records)).filter((record) => record !== undefined);
  }

  /** @returns The record of the side that is not killed, or nothing if it was not asked in time. */
  async function runEndless(
    { client, server }: TrafficPair,
    port: number,
    other: "client" | "server",
  ): Promise<TrafficRecord | undefined> {
    const id = ++lastId;
    const armed = await server.arm(id, SERVER_PORT + port, ENDLESS).catch(() => undefined);
    if (armed === undefined) return undefined;
    const ran = client.run(id, route.target(port), ENDLESS);
    if (other === "client") return ran;
    await ran.catch(() => undefined);
    server.disarm(id);
    return armed.record;
  }

  /** What is wrong with those who saw the end, and with others that ran meanwhile. */
  async function amongSurvivors(kill: () => Promise<TrafficRecord[]>): Promise<string[]> {
    await runCases(survivors, route, [generateCleanCase(seed, 0)], [0]);
    await mesh.awaitQuiet();
    const before: Held = mesh.snapshot();
    await mesh.carried("client");
    const steady = new SteadyTraffic(
      survivors,
      route,
      (number) => generateCleanCase(seed, number),
      SURVIVORS,
    );
    const seen = await kill().finally(() => steady.stop());
    const survived = await steady.stop();
    await mesh.awaitQuiet();
    await awaitBaseline(mesh, before);
    for (const pod of ["client", "server"]) await assertBalanced(mesh, pod);
    const { tcp, fallbacks } = await mesh.carried("client");
    expect({ tcp, fallbacks }).to.deep.equal({ tcp: 0, fallbacks: {} });
    expect(survived.length).to.be.above(0);
    return [
      ...seen.filter((record) => !isEnd(record)).map((record) => JSON.stringify(record)),
      ...survived.flatMap(({ traffic, records }) =>
        explain(traffic, records, judge(traffic, records)),
      ),
    ];
  }
});

/**
 * What TCP shows when the other process is killed: its kernel sends what it had taken and then an
 * end of file, or a reset if something was unread. Whichever call sees it first gets the error.
 */
function isEnd({ outcome, wrongAt, receiveEnd, sendEnd }: TrafficRecord): boolean {
  if (outcome !== "ran") return outcome === "not accepted";
  const isOver = ["EOF", "ECONNRESET"].includes(receiveEnd);
  return wrongAt < 0 && isOver && ["ECONNRESET", "EPIPE"].includes(sendEnd);
}
