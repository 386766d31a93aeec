import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import {
  openKubernetesCatalog,
  type KubernetesCatalogSource,
} from "../../../../agent/kubernetes/source.ts";
import { FOREIGN_KINDS } from "../../../../agent/network-policy/foreign-kinds.ts";
import { createAgentMetrics } from "../../../../agent/metrics.ts";
import { systemClock } from "../../../../common/clock.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { RESOURCES } from "../../../../common/kubernetes/resources.ts";
import { PACKAGE_ROOT } from "../../../../common/version.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import { accessOf, allows, permissionsOf } from "../../../helpers/rbac.ts";
import { silentLog } from "../fakes.ts";
import { NODE } from "./fakes.ts";

const PERMISSIONS = permissionsOf(
  readFileSync(join(PACKAGE_ROOT, "manifests/base/agent/rbac.yaml"), "utf8"),
);

/** What everybody may ask who has an account: the role system:discovery. */
const DISCOVERY = /^\/apis(?:\/[^/]+\/[^/]+)?$/;

describe("manifests/base/agent/rbac.yaml", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let source: KubernetesCatalogSource;

  beforeEach(async function () {
    server = await FakeApiServer.start();
    server.served = FOREIGN_KINDS.map(({ group, plural }) => ({
      apiVersion: `${group}/v1`,
      kind: plural,
      plural,
      isNamespaced: true,
    }));
    server.intercept = (request) => {
      if (DISCOVERY.test(request.path)) return undefined;
      const access = accessOf(request);
      if (PERMISSIONS.some((each) => allows(each, access))) return undefined;
      return failure(403, "Forbidden", JSON.stringify(access));
    };
    server.put(RESOURCES.nodes, { metadata: { name: NODE } });
    server.put(RESOURCES.shimmyNodes, { metadata: { name: NODE }, spec: { attachments: [] } });
    api = new ApiClient(server.access);
    source = await openKubernetesCatalog({
      nodeName: NODE,
      api,
      clock: systemClock,
      log: silentLog(),
      metrics: createAgentMetrics(),
      onChange: () => undefined,
    });
    source.watch();
  });

  afterEach(async function () {
    await source.closed();
    await api.close();
    await server.close();
  });

  it("should allow what the agent does, and nothing else", async function () {
    await eventually("a status", () => server.seen("PATCH", "shimmynodes").length === 1);
    await eventually("all watches", () => server.watchCount === 8);
    expect(source.error).to.equal(undefined);

    const asked = server.requests.filter(({ path }) => !DISCOVERY.test(path)).map(accessOf);
    const refused = asked.filter((access) => !PERMISSIONS.some((each) => allows(each, access)));
    expect(refused).to.deep.equal([]);
    const unused = PERMISSIONS.filter((each) => !asked.some((access) => allows(each, access)));
    expect(unused).to.deep.equal([]);
  });
});
