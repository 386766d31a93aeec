import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { systemClock } from "../../../common/clock.ts";
import { RESOURCES } from "../../../common/kubernetes/resources.ts";
import { createLogger } from "../../../common/log.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { Namespaces } from "../../../injector/namespaces.ts";
import { eventually } from "../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../helpers/fake-api-server.ts";
import { accessOf, allows, permissionsOf } from "../../helpers/rbac.ts";

const PERMISSIONS = permissionsOf(
  readFileSync(join(PACKAGE_ROOT, "manifests/base/injector/rbac.yaml"), "utf8"),
);

describe("manifests/base/injector/rbac.yaml", function () {
  let server: FakeApiServer;
  let namespaces: Namespaces;

  beforeEach(async function () {
    server = await FakeApiServer.start();
    server.intercept = (request) => {
      const access = accessOf(request);
      if (PERMISSIONS.some((each) => allows(each, access))) return undefined;
      return failure(403, "Forbidden", JSON.stringify(access));
    };
    namespaces = new Namespaces({
      access: server.access,
      clock: systemClock,
      log: createLogger({ process: "injector", level: "silent" }),
    });
  });

  afterEach(async function () {
    await namespaces.close();
    await server.close();
  });

  it("should allow what the injector does, and nothing else", async function () {
    const labels = { "shimmy.io/inject": "enabled" };
    server.put(RESOURCES.namespaces, { metadata: { name: "shop", labels } });
    await eventually("the namespaces", () => namespaces.isSynced);
    server.put(RESOURCES.namespaces, { metadata: { name: "bank", labels } });
    await eventually("one that is new", () => namespaces.get("bank") !== undefined);

    const accesses = server.requests.map(accessOf);
    expect(accesses.filter((access) => !PERMISSIONS.some((each) => allows(each, access)))).to.be
      .empty;
    expect(PERMISSIONS.filter((each) => !accesses.some((access) => allows(each, access)))).to.be
      .empty;
  });
});
