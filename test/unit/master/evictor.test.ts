import { expect } from "chai";

import { RESOURCES } from "../../../common/kubernetes/resources.ts";
import { ApiClient } from "../../../common/kubernetes/api-client.ts";
import { createLogger } from "../../../common/log.ts";
import { EventRecorder } from "../../../master/events.ts";
import { EVICT_EVERY_MS, Evictor } from "../../../master/evictor.ts";
import { createMasterMetrics, type MasterMetrics } from "../../../master/metrics.ts";
import type { MasterPod } from "../../../master/world.ts";
import { FakeApiServer, failure } from "../../helpers/fake-api-server.ts";
import { FakeClock } from "../agent/fakes.ts";
import { pod, type PodSketch } from "./fakes.ts";

const bare = (name: string, owner?: string, more: Partial<PodSketch> = {}): MasterPod =>
  pod({ name, sidecar: "none", ...(owner === undefined ? {} : { owner }), ...more });

describe("Evictor", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let clock: FakeClock;
  let metrics: MasterMetrics;
  let evictor: Evictor;
  let isLeading: boolean;
  /** Names of pods whose budget forbids to evict them. */
  let protectedPods: Set<string>;

  beforeEach(async function () {
    server = await FakeApiServer.start();
    protectedPods = new Set();
    server.intercept = ({ method, path }) => {
      const [, name = ""] = /\/pods\/([^/]+)\/eviction$/.exec(path) ?? [];
      if (method !== "POST" || name === "") return undefined;
      if (protectedPods.has(name)) return failure(429, "TooManyRequests", "by its budget");
      return { status: 201, body: { kind: "Status", status: "Success" } };
    };
    api = new ApiClient(server.access);
    clock = new FakeClock();
    metrics = createMasterMetrics();
    isLeading = true;
    const log = createLogger({ process: "master", level: "silent" });
    const events = new EventRecorder({ api, identity: "a", clock, log });
    evictor = new Evictor({ api, events, metrics, clock, log, isLeading: () => isLeading });
    evictor.consider([], []);
  });

  afterEach(async function () {
    await evictor.close();
    await api.close();
    await server.close();
  });

  /** Looks once; those of the pods that are without a sidecar are to be evicted. */
  async function look(pods: readonly MasterPod[]): Promise<void> {
    const uninjected = pods.filter(({ hasSidecar }) => !hasSidecar);
    evictor.consider(uninjected, pods);
    await evictor.close();
  }

  /** Looks when it is time for another. */
  async function turn(pods: readonly MasterPod[]): Promise<void> {
    clock.advance(EVICT_EVERY_MS);
    await look(pods);
  }

  const tried = (): string[] =>
    server.seen("POST", "/eviction").map(({ path }) => path.split("/").at(-2) ?? "");

  async function count(result: string): Promise<number> {
    const { values } = await metrics.evictions.get();
    return values.find(({ labels }) => labels.result === result)?.value ?? 0;
  }

  it("should evict by the Eviction API, that very pod, and tell", async function () {
    await turn([bare("w-1", "w")]);
    const [request] = server.seen("POST", "/eviction");
    expect(request?.path).to.equal("/api/v1/namespaces/market/pods/w-1/eviction");
    expect(request?.body).to.deep.equal({
      apiVersion: "policy/v1",
      kind: "Eviction",
      metadata: { namespace: "market", name: "w-1" },
      deleteOptions: { preconditions: { uid: "uid-w-1" } },
    });
    const [event] = server.all(RESOURCES.events);
    expect(event).to.deep.include({ reason: "EvictedForSidecar", type: "Normal" });
    expect(await count("evicted")).to.equal(1);
    expect(server.seen("DELETE", "")).to.deep.equal([]);
  });

  it("should evict one in thirty seconds, the first that long after it led (E1)", async function () {
    const pods = [bare("v-1", "v"), bare("w-1", "w"), bare("x-1", "x")];
    clock.advance(EVICT_EVERY_MS - 1);
    await look(pods);
    expect(tried()).to.deep.equal([]);
    clock.advance(1);
    for (let times = 0; times < 3; times += 1) await look(pods);
    expect(tried()).to.have.length(1);
    isLeading = false;
    await turn(pods);
    isLeading = true;
    await look(pods);
    expect(tried()).to.have.length(1);
    await turn(pods);
    expect(tried()).to.have.length(2);
  });

  it("should go on with a workload when as many are ready as before (E2)", async function () {
    const [first, second] = [bare("w-1", "w"), bare("w-2", "w")];
    await turn([first, second]);
    expect(tried()).to.deep.equal(["w-1"]);
    const next = (isReady: boolean): MasterPod => pod({ name: "w-3", owner: "w", isReady });
    await turn([second]);
    await turn([second, next(false)]);
    expect(tried()).to.have.length(1);
    await turn([second, next(true)]);
    expect(tried()).to.deep.equal(["w-1", "w-2"]);
  });

  it("should not wait for ever for a workload that was made smaller (E2)", async function () {
    await turn([bare("w-1", "w"), bare("w-2", "w")]);
    for (let waited = 0; waited < 570_000; waited += EVICT_EVERY_MS) await turn([bare("w-2", "w")]);
    expect(tried()).to.have.length(1);
    await turn([bare("w-2", "w")]);
    expect(tried()).to.have.length(2);
  });

  it("should leave a workload alone while one of its pods is ending (E2)", async function () {
    const ending = pod({ name: "w-2", owner: "w", isTerminating: true });
    await turn([bare("w-1", "w"), ending]);
    expect(tried()).to.deep.equal([]);
  });

  it("should leave pods alone that nobody makes anew, and those of Jobs (E3)", async function () {
    const job = bare("j-1", "j", { ownerKind: "Job" });
    await turn([bare("alone"), job, bare("n-1", "n", { ownerKind: "Node" })]);
    expect(tried()).to.deep.equal([]);
  });

  for (const ownerKind of ["ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController"]) {
    it(`should evict those of a ${ownerKind}`, async function () {
      await turn([bare("w-1", "w", { ownerKind })]);
      expect(tried()).to.deep.equal(["w-1"]);
    });
  }

  it("should not evict what was made without a sidecar after an eviction (E4)", async function () {
    await turn([bare("w-1", "w")]);
    await turn([bare("w-2", "w")]);
    expect(tried()).to.deep.equal(["w-1"]);
    // Another workload does not suffer from it.
    await turn([bare("w-2", "w"), bare("x-1", "x")]);
    expect(tried()).to.deep.equal(["w-1", "x-1"]);
  });

  it("should take others first when a budget forbids one (E5)", async function () {
    protectedPods.add("v-1");
    const pods = [bare("v-1", "v"), bare("w-1", "w")];
    await turn(pods);
    await turn(pods);
    expect(tried()).to.deep.equal(["v-1", "w-1"]);
    expect([await count("refused"), await count("evicted")]).to.deep.equal([1, 1]);
    protectedPods.clear();
    await turn([bare("v-1", "v")]);
    expect(tried()).to.deep.equal(["v-1", "w-1", "v-1"]);
    expect(await count("evicted")).to.equal(2);
  });

  it("should count what fails, and try again", async function () {
    const answer = server.intercept;
    server.intercept = () => failure(403, "Forbidden", "no");
    await turn([bare("w-1", "w")]);
    expect(await count("failed")).to.equal(1);
    server.intercept = answer;
    await turn([bare("w-1", "w")]);
    expect(await count("evicted")).to.equal(1);
  });
});
