import { expect } from "chai";
import { setTimeout as delay } from "node:timers/promises";

import { assertBalanced, awaitBaseline, type Held } from "../helpers/baseline.ts";
import { eventually } from "../helpers/eventually.ts";
import type { LocalMesh } from "../helpers/local-mesh.ts";
import { processState } from "../helpers/process-snapshot.ts";
import { Random, scaled, testSeed } from "../helpers/random.ts";
import { expectNone, explain } from "../helpers/traffic/explain.ts";
import { generateCleanCase } from "../helpers/traffic/generate.ts";
import { judge, judgeCutOff } from "../helpers/traffic/judge.ts";
import { buildTrafficPeer, killTrafficPeers, TrafficPeer } from "../helpers/traffic/peer.ts";
import {
  ALL_PORTS,
  PORT_COUNT,
  runCases,
  SERVER_PORT,
  SteadyTraffic,
  type Route,
  type TrafficPair,
} from "../helpers/traffic/run-cases.ts";
import { trafficMesh, viaMesh } from "../helpers/traffic/traffic-mesh.ts";

const ROUNDS = scaled(6);
const STOPS = scaled(20);
const SIDECARS = ["client", "server"] as const;

describe("Shimmy's processes that fail", function () {
  const seed = testSeed();
  const random = new Random(`${seed}/processes`);
  let mesh: LocalMesh;
  let route: Route;
  let pair: TrafficPair;
  let lastCase = 0;

  before(async function () {
    this.timeout(60_000);
    console.log(`    SHIMMY_TEST_SEED=${seed}`);
    buildTrafficPeer();
    mesh = await trafficMesh();
    route = viaMesh(mesh);
    const server = await TrafficPeer.server(mesh.address("server"), SERVER_PORT, PORT_COUNT);
    pair = { client: await TrafficPeer.client(), server };
  });

  beforeEach(async function () {
    this.timeout(20_000);
    await eventually("the sidecars to have a session", async () => {
      await runCases(pair, route, [nextCase()], [0]);
      const { shm } = await mesh.carried("client");
      return shm === 1;
    });
  });

  after(async function () {
    await killTrafficPeers();
    await mesh.close();
  });

  for (const sidecar of SIDECARS) {
    it(`should end streams when the sidecar of the ${sidecar} is killed, and carry new ones when it is back`, async function () {
      this.timeout(ROUNDS * 15_000);
      const problems: string[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const steady = startTraffic();
        await eventually("some traffic", () => steady.count > 20);
        await delay(random.integer(0, 20)); // to be killed in any state
        await mesh.kill(sidecar);
        await mesh.startSidecar(sidecar);
        for (const { traffic, records } of await steady.stop()) {
          problems.push(...explain(traffic, records, judgeCutOff(traffic, records)));
        }
        await eventually("new connections to be carried", async () => {
          await mesh.carried("client");
          problems.push(...(await runClean(8)));
          return (await mesh.carried("client")).shm === 8;
        });
      }
      expectNone(problems);
    });
  }

  it("should lose nothing when sidecars and agent are stopped and go on", async function () {
    this.timeout(STOPS * 2000);
    await mesh.carried("client");
    const steady = startTraffic();
    for (let round = 0; round < STOPS; round++) {
      const name = random.pick([...SIDECARS, "agent"]);
      mesh.process(name).signal("SIGSTOP");
      await eventually(`${name} to be stopped`, () => processState(mesh.pid(name)) === "T");
      await delay(random.integer(1, 100)); // less than the time for a stream to be opened
      mesh.process(name).signal("SIGCONT");
      await delay(random.integer(1, 30));
    }
    expectNone(await judgeAll(steady));
    const { tcp, fallbacks } = await mesh.carried("client");
    expect({ tcp, fallbacks }).to.deep.equal({ tcp: 0, fallbacks: {} });
  });

  it("should not be noticed by any stream that the agent is killed and comes back", async function () {
    this.timeout(ROUNDS * 15_000);
    await mesh.awaitQuiet();
    const before: Held = mesh.snapshot();
    await mesh.carried("client");
    const steady = startTraffic();
    for (let round = 0; round < ROUNDS; round++) {
      await mesh.kill("agent");
      await delay(random.integer(0, 50)); // at any time after the sidecars have noticed, or before
      await mesh.startAgent();
      for (const pod of SIDECARS) {
        await eventually(`${pod} to find the agent`, async () => {
          return (await mesh.metrics(pod)).sum("shimmy_sidecar_agent_connected") === 1;
        });
      }
    }
    expectNone(await judgeAll(steady));
    const { tcp, fallbacks } = await mesh.carried("client");
    expect({ tcp, fallbacks }).to.deep.equal({ tcp: 0, fallbacks: {} });
    await mesh.awaitQuiet();
    await awaitBaseline(mesh, new Map([...before].filter(([name]) => name !== "agent")));
    for (const pod of SIDECARS) await assertBalanced(mesh, pod);
  });

  function nextCase(): ReturnType<typeof generateCleanCase> {
    return generateCleanCase(seed, lastCase++);
  }

  function startTraffic(): SteadyTraffic {
    return new SteadyTraffic(pair, route, nextCase, ALL_PORTS);
  }

  async function judgeAll(steady: SteadyTraffic): Promise<string[]> {
    return (await steady.stop()).flatMap(({ traffic, records }) =>
      explain(traffic, records, judge(traffic, records)),
    );
  }

  async function runClean(count: number): Promise<string[]> {
    const cases = Array.from({ length: count }, nextCase);
    const records = await runCases(pair, route, cases);
    return cases.flatMap((traffic, index) => {
      const record = records[index];
      return record === undefined ? [] : explain(traffic, record, judge(traffic, record));
    });
  }
});
