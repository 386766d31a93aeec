import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { RESOURCES } from "../../../common/kubernetes/resources.ts";
import { createLogger } from "../../../common/log.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { resolveMasterConfig } from "../../../master/env.ts";
import { runMaster, type RunningMaster } from "../../../master/main.ts";
import { eventually } from "../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../helpers/fake-api-server.ts";
import { accessOf, allows, permissionsOf } from "../../helpers/rbac.ts";
import { rawPod, type PodSketch } from "./fakes.ts";

const PERMISSIONS = permissionsOf(
  readFileSync(join(PACKAGE_ROOT, "manifests/base/master/rbac.yaml"), "utf8"),
);

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
