import { expect } from "chai";

import { ForeignPolicies } from "../../../../agent/kubernetes/foreign-policies.ts";
import { policyPodOf } from "../../../../agent/kubernetes/rules.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import type { Resource } from "../../../../common/kubernetes/resources.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import { FakeClock, silentLog } from "../fakes.ts";
import { localPod } from "./fakes.ts";

const CILIUM: Resource = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  plural: "ciliumnetworkpolicies",
  isNamespaced: true,
};
const ADMIN: Resource = {
  apiVersion: "policy.networking.k8s.io/v1alpha1",
  kind: "AdminNetworkPolicy",
  plural: "adminnetworkpolicies",
  isNamespaced: false,
};
const ISTIO: Resource = {
  apiVersion: "security.istio.io/v1",
  kind: "AuthorizationPolicy",
  plural: "authorizationpolicies",
  isNamespaced: true,
};
const HARMLESS: Resource = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNode",
  plural: "ciliumnodes",
  isNamespaced: false,
};

describe("ForeignPolicies", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let clock: FakeClock;
  let foreign: ForeignPolicies;
  let changes: number;

  /** Whether pods of these namespaces may be meant. */
  function test(...namespaces: string[]): boolean {
    return foreign.test(
      namespaces.map((namespace) => policyPodOf(localPod({ name: "a", namespace }))),
    );
  }

  /** Looks again, as after a minute. */
  async function refresh(): Promise<void> {
    const before = server.lists("/apis").length;
    clock.advance(60_000);
    await eventually("a look", () => server.lists("/apis").length > before);
    await eventually("its answer", () => clock.pending === 1);
  }

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    clock = new FakeClock();
    changes = 0;
    foreign = new ForeignPolicies({
      api,
      clock,
      log: silentLog(),
      onChange: () => {
        changes += 1;
      },
    });
    foreign.start();
    await foreign.synced;
    await eventually("the first answer", () => clock.pending === 1);
  });

  afterEach(async function () {
    await foreign.close();
    await api.close();
    await server.close();
  });

  it("should find nothing where there is nothing, and ask for no more than the groups", function () {
    expect([foreign.kinds, changes, test("shop")]).to.deep.equal([[], 0, false]);
    expect(server.requests.map(({ path }) => path)).to.deep.equal(["/apis"]);
  });

  it("should not mind a kind without objects, nor other kinds of its group", async function () {
    server.served = [CILIUM, ADMIN, HARMLESS];
    server.put(HARMLESS, { metadata: { name: "n1" } });
    await refresh();
    expect([foreign.kinds, test("shop")]).to.deep.equal([[], false]);
    expect(server.lists("ciliumnodes")).to.deep.equal([]);
  });

  it("should mind a namespaced kind for pods of its namespaces", async function () {
    server.served = [CILIUM];
    server.put(CILIUM, { metadata: { name: "a", namespace: "vault" } });
    await refresh();
    expect(foreign.kinds).to.deep.equal(["ciliumnetworkpolicies.cilium.io"]);
    expect([test("shop", "shop"), test("shop", "vault"), test("vault", "shop")]).to.deep.equal([
      false,
      true,
      true,
    ]);
    expect(changes).to.equal(1);
    server.put(CILIUM, { metadata: { name: "b", namespace: "shop" } });
    await refresh();
    expect(test("shop")).to.equal(true);
    expect(changes).to.equal(2);
    await refresh();
    expect(changes, "nothing new").to.equal(2);
    server.served = [];
    await refresh();
    expect(test("vault")).to.equal(false);
  });

  it("should mind a kind of any namespace that may be about others", async function () {
    server.served = [ISTIO];
    server.put(ISTIO, { metadata: { name: "a", namespace: "istio-system" } });
    await refresh();
    expect(test("shop")).to.equal(true);
  });

  it("should not take blocks of addresses for pods' where Cilium is", async function () {
    expect(foreign.areBlocksForPods).to.equal(true);
    server.served = [HARMLESS];
    await refresh();
    expect([foreign.areBlocksForPods, changes]).to.deep.equal([false, 1]);
  });

  it("should mind a kind of the cluster for all pods", async function () {
    server.served = [ADMIN];
    server.put(ADMIN, { metadata: { name: "a" } });
    await refresh();
    expect(test("shop")).to.equal(true);
  });

  it("should take a kind that it may not read for one that is everywhere (I1)", async function () {
    server.served = [CILIUM];
    server.intercept = ({ path }) =>
      path.includes("ciliumnetwork") ? failure(403, "Forbidden", "no") : undefined;
    await refresh();
    expect(test("shop")).to.equal(true);
  });

  it("should take a kind with more objects than it reads for one that is everywhere (I1)", async function () {
    server.served = [CILIUM];
    for (let index = 0; index < 501; index++) {
      server.put(CILIUM, { metadata: { name: `p${index}`, namespace: "vault" } });
    }
    await refresh();
    expect(test("shop")).to.equal(true);
  });

  it("should keep what it knows when it cannot ask, and say for how long", async function () {
    server.served = [ADMIN];
    server.put(ADMIN, { metadata: { name: "a" } });
    await refresh();
    server.intercept = () => failure(500, "Internal", "later");
    await refresh();
    expect(test("shop")).to.equal(true);
    expect(foreign.silentMs).to.equal(60_000);
    clock.advance(4999);
    server.intercept = () => undefined;
    server.delete(ADMIN, "a");
    clock.advance(1);
    await eventually("another try", () => foreign.silentMs === 0);
    expect(test("shop")).to.equal(false);
  });
});
