import { expect } from "chai";

import { LocalMesh } from "../helpers/local-mesh.ts";
import { scaled, testSeed } from "../helpers/random.ts";
import { CORNER_CASES } from "../helpers/traffic/corner-cases.ts";
import { expectNone, explain } from "../helpers/traffic/explain.ts";
import { generateCase } from "../helpers/traffic/generate.ts";
import { isClean, judge, type CaseRecords } from "../helpers/traffic/judge.ts";
import { buildTrafficPeer, killTrafficPeers, TrafficPeer } from "../helpers/traffic/peer.ts";
import {
  directRoute,
  PORT_COUNT,
  runCases,
  SERVER_PORT,
  type Route,
  type TrafficPair,
} from "../helpers/traffic/run-cases.ts";
import type { TrafficCase } from "../helpers/traffic/script.ts";
import { trafficMesh, viaMesh } from "../helpers/traffic/traffic-mesh.ts";

const GENERATED = scaled(4000);
const ROUTES = ["tcp", "shm"] as const;

describe("traffic", function () {
  let mesh: LocalMesh;
  let pair: TrafficPair;
  let routes: Record<(typeof ROUTES)[number], Route>;

  before(async function () {
    this.timeout(60_000);
    buildTrafficPeer();
    mesh = await trafficMesh();
    const address = mesh.address("server");
    routes = { tcp: directRoute(address), shm: viaMesh(mesh) };
    const server = await TrafficPeer.server(address, SERVER_PORT, PORT_COUNT);
    pair = { client: await TrafficPeer.client(), server };
  });

  after(async function () {
    await killTrafficPeers();
    await mesh.close();
  });

  for (const name of ROUTES) {
    it(`should do in corner cases what TCP does, over ${name}`, async function () {
      this.timeout(25_000);
      const records = await run(name, CORNER_CASES);
      const problems = CORNER_CASES.flatMap((corner, index) => {
        const record = records[index] as CaseRecords;
        return [
          ...explain(corner, record, judge(corner, record)),
          ...(["client", "server"] as const)
            .filter((side) => {
              const expected = corner.expect?.[side]?.receiveEnd;
              return expected !== undefined && record[side].receiveEnd !== expected;
            })
            .map((side) => `${corner.name}: ${side} saw ${record[side].receiveEnd}`),
        ];
      });
      expectNone(problems);
    });
  }

  it(`should do in ${GENERATED} generated cases what TCP does, over both`, async function () {
    this.timeout(150_000 * Math.max(1, GENERATED / 4000));
    const seed = testSeed();
    console.log(`      SHIMMY_TEST_SEED=${seed}`);
    const cases = Array.from({ length: GENERATED }, (_, number) => generateCase(seed, number));
    const tcp = await run("tcp", cases);
    const shm = await run("shm", cases);
    const problems = cases.flatMap((each, index) => {
      const [direct, carried] = [tcp[index] as CaseRecords, shm[index] as CaseRecords];
      const different =
        isClean(each) && JSON.stringify(comparable(direct)) !== JSON.stringify(comparable(carried));
      return [
        ...explain(each, direct, judge(each, direct)).map((problem) => `tcp: ${problem}`),
        ...explain(each, carried, judge(each, carried)).map((problem) => `shm: ${problem}`),
        ...(different ? [`${each.name}: records differ`] : []),
      ];
    });
    expectNone(problems);
  });

  /** Runs cases; over Shimmy also asserts that it carried them, and that nothing is left of them. */
  async function run(name: "tcp" | "shm", cases: readonly TrafficCase[]): Promise<CaseRecords[]> {
    await mesh.carried("client");
    const records = await runCases(pair, routes[name], cases);
    await mesh.awaitQuiet();
    if (name === "tcp") {
      await mesh.assertCarried("client", 0);
      return records;
    }
    // A client that gives up before its stream is established has none.
    const atLeast = cases.filter(({ client }) => client.end !== "reset").length;
    const { shm, ...seen } = await mesh.carried("client");
    expect(seen).to.deep.include({ accepted: cases.length, tcp: 0, fallbacks: {} });
    expect(shm).to.be.within(atLeast, cases.length);
    return records;
  }
});

function comparable({ client, server }: CaseRecords): unknown[] {
  return [client, server].map(({ received, receiveEnd, sent, sendEnd }) => [
    received,
    receiveEnd,
    sent,
    sendEnd,
  ]);
}
