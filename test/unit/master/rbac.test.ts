import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { ApiClient } from "../../../common/kubernetes/api-client.ts";
import { RESOURCES } from "../../../common/kubernetes/resources.ts";
import { createLogger } from "../../../common/log.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { resolveMasterConfig } from "../../../master/env.ts";
import { EventRecorder } from "../../../master/events.ts";
import { EVICT_EVERY_MS, Evictor } from "../../../master/evictor.ts";
import { runMaster, type RunningMaster } from "../../../master/main.ts";
import { createMasterMetrics } from "../../../master/metrics.ts";
import { eventually } from "../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../helpers/fake-api-server.ts";
import { accessOf, allows, permissionsOf } from "../../helpers/rbac.ts";
import { FakeClock } from "../agent/fakes.ts";
import { pod, rawPod, type PodSketch } from "./fakes.ts";

const read = (path: string): string => readFileSync(join(PACKAGE_ROOT, "manifests", path), "utf8");
const PERMISSIONS = permissionsOf(read("base/master/rbac.yaml"));
const EVICTION = permissionsOf(read("components/eviction/rbac.yaml"));

describe("manifests/base/master/rbac.yaml", function () {
  let server: FakeApiServer;
  let master: RunningMaster;

  function putPod(sketch: PodSketch): void {
    server.put(RESOURCES.pods, { ...rawPod(sketch) });
  }

  beforeEach(async function () {
    server = await FakeApiServer.start();
    server.intercept = (request) => {
      const access = accessOf(request);
      if (PERMISSIONS.some((each) => allows(each, access))) return undefined;
      return failure(403, "Forbidden", JSON.stringify(access));
    };
    master = await runMaster({
      config: resolveMasterConfig({ env: { SHIMMY_ADMIN_ADDRESS: "127.0.0.1:0" } }),
      access: server.access,
      log: createLogger({ process: "master", level: "silent" }),
      times: { leaseMs: 1000, renewMs: 700, retryMs: 40 },
    });
  });

  afterEach(async function () {
    await master.close();
    await server.close();
  });

  it("should allow what the master does, and nothing else", async function () {
    const { events, mutatingWebhooks, nodes, secrets, sharedMemoryObjects, shimmyNodes } =
      RESOURCES;
    const certificates = ["shimmy-webhook-ca", "shimmy-fabric-ca", "shimmy-injector-tls"];
    for (const name of certificates) {
      const metadata = { name, namespace: "shimmy-system" };
      server.put(secrets, { metadata, type: "Opaque", data: {} });
    }
    server.put(mutatingWebhooks, {
      metadata: { name: "shimmy-injector" },
      webhooks: [{ name: "pods.shimmy.io", clientConfig: {} }],
    });
    server.put(nodes, { metadata: { name: "n1" } });
    await eventually("a ShimmyNode", () => server.get(shimmyNodes, "n1") !== undefined);
    putPod({ name: "feed-1", containers: ["feed"] });
    putPod({ name: "bare", sidecar: "none", labels: { "shimmy.io/inject": "enabled" } });
    server.put(sharedMemoryObjects, {
      metadata: { name: "prices", namespace: "market" },
      spec: {
        type: "Stream",
        publishers: { containers: ["feed"] },
        subscribers: { containers: ["trader"] },
      },
    });
    await eventually("a status", () => {
      const found = server.get(sharedMemoryObjects, "prices", "market");
      return (found?.["status"] as { publishers?: number } | undefined)?.publishers === 1;
    });
    await eventually("a changed ShimmyNode", () => {
      return server.seen("PATCH", shimmyNodes.plural).length > 0;
    });
    await eventually("an event", () => server.all(events).length === 1);
    await eventually("certificates", () => server.seen("PUT", secrets.plural).length === 3);
    await eventually(
      "a trusted CA",
      () => server.seen("PATCH", mutatingWebhooks.plural).length > 0,
    );
    server.delete(secrets, "shimmy-fabric-ca", "shimmy-system");
    server.put(mutatingWebhooks, {
      metadata: { name: "shimmy-injector" },
      webhooks: [{ name: "pods.shimmy.io", clientConfig: {} }],
    });
    await eventually("another CA", () => server.seen("POST", secrets.plural).length > 0);
    await master.close();

    const accesses = server.requests.map(accessOf);
    const refused = accesses.filter((access) => !PERMISSIONS.some((each) => allows(each, access)));
    expect(refused).to.deep.equal([]);
    const unused = PERMISSIONS.filter((each) => !accesses.some((access) => allows(each, access)));
    expect(unused).to.deep.equal([]);
  });
});

describe("manifests/components/eviction/rbac.yaml", function () {
  it("should allow what an evictor does besides, and nothing else", async function () {
    const server = await FakeApiServer.start();
    const api = new ApiClient(server.access);
    try {
      server.intercept = ({ path }) =>
        path.endsWith("/eviction") ? { status: 201, body: {} } : undefined;
      const clock = new FakeClock();
      const log = createLogger({ process: "master", level: "silent" });
      const events = new EventRecorder({ api, identity: "a", clock, log });
      const metrics = createMasterMetrics();
      const isLeading = (): boolean => true;
      const evictor = new Evictor({ api, events, metrics, clock, log, isLeading });
      const pods = [pod({ name: "w-1", owner: "w", sidecar: "none" })];
      evictor.consider(pods, pods);
      clock.advance(EVICT_EVERY_MS);
      evictor.consider(pods, pods);
      await evictor.close();
      const accesses = server.requests.map(accessOf);
      expect(accesses).to.have.length(2);
      const all = [...PERMISSIONS, ...EVICTION];
      expect(accesses.every((access) => all.some((each) => allows(each, access)))).to.be.true;
      // None of them is given to a master that does not evict.
      expect(EVICTION.every((each) => accesses.some((access) => allows(each, access)))).to.be.true;
      expect(PERMISSIONS.some(({ resource }) => resource === "pods/eviction")).to.be.false;
    } finally {
      await api.close();
      await server.close();
    }
  });
});
