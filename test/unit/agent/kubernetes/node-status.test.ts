import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { NODE_CONDITION_REASONS, NodeStatus } from "../../../../agent/kubernetes/node-status.ts";
import { createAgentMetrics } from "../../../../agent/metrics.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import type { Condition } from "../../../../common/kubernetes/objects.ts";
import { RESOURCES } from "../../../../common/kubernetes/resources.ts";
import { checkShimmyNode } from "../../../../common/kubernetes/shimmy-node.ts";
import { PACKAGE_ROOT, VERSION } from "../../../../common/version.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import { FakeClock, silentLog } from "../fakes.ts";

const { shimmyNodes } = RESOURCES;
const NODE = "n1";

function attachment(name: string): object {
  const pod = { namespace: "shop", name, uid: `uid-${name}` };
  const object = { namespace: "shop", name: "prices", uid: "uid-prices" };
  return { object, pod, role: "publisher" };
}

describe("NodeStatus", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let clock: FakeClock;
  let status: NodeStatus;
  let problem: string | undefined;
  let attached: number;

  function put(attachments: readonly object[], name = NODE): void {
    const before = server.get(shimmyNodes, name);
    server.put(shimmyNodes, {
      ...before,
      metadata: { ...before?.metadata, name },
      spec: { attachments },
    });
  }

  function conditions(): Readonly<Record<string, Condition>> {
    const found = server.get(shimmyNodes, NODE)?.["status"] as
      { conditions?: Condition[] } | undefined;
    return Object.fromEntries((found?.conditions ?? []).map((each) => [each.type, each]));
  }

  async function settles(what: string, condition: () => boolean): Promise<void> {
    await eventually(what, condition);
  }

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    clock = new FakeClock();
    problem = undefined;
    attached = 0;
    status = new NodeStatus({
      api,
      nodeName: NODE,
      problem: () => problem,
      attached: () => attached,
      clock,
      log: silentLog(),
      metrics: createAgentMetrics(),
      limits: { retryMs: 5, maxRetryMs: 20 },
    });
    put([]);
    put([], "n2");
    status.start();
    await settles("a status", () => conditions()["Ready"] !== undefined);
  });

  afterEach(async function () {
    await status.close();
    await api.close();
    await server.close();
  });

  it("should say that it is ready, by the definition of the kind", function () {
    const found = server.get(shimmyNodes, NODE);
    expect(checkShimmyNode(found).problem).to.equal(undefined);
    expect(found?.["status"]).to.deep.include({
      observedGeneration: 1,
      agentVersion: VERSION,
      attached: 0,
    });
    expect(conditions()["Ready"]).to.include({ status: "True", reason: "Ready" });
    expect(conditions()["Supported"]).to.include({ status: "True", reason: "Supported" });
  });

  it("should write once, and never of another node", async function () {
    status.refresh();
    clock.advance(60_000);
    await settles("the watch", () => server.watchCount === 1);
    expect(server.seen("PATCH", "shimmynodes").map(({ path }) => path)).to.deep.equal([
      "/apis/shimmy.io/v1alpha1/shimmynodes/n1/status",
    ]);
    const reads = server.requests.filter(({ method }) => method === "GET");
    expect(new Set(reads.map(({ query }) => query.get("fieldSelector")))).to.deep.equal(
      new Set(["metadata.name=n1"]),
    );
  });

  it("should say how many attachments there are", async function () {
    const told = (): unknown =>
      (server.get(shimmyNodes, NODE)?.["status"] as { attached?: number } | undefined)?.attached;
    put([attachment("a"), attachment("b")]);
    attached = 2;
    clock.advance(10_000);
    await settles("a change", () => told() === 2);
    await settles("the generation", () => conditions()["Supported"]?.observedGeneration === 2);
    expect(conditions()["Supported"]?.status).to.equal("True");
  });

  it("should say why it is not ready, and when that changed", async function () {
    const before = conditions()["Ready"]?.lastTransitionTime;
    problem = "nothing heard of pods";
    clock.advance(10_000);
    await settles("a change", () => conditions()["Ready"]?.status === "False");
    expect(conditions()["Ready"]).to.include({ reason: "CatalogUnknown", message: problem });
    problem = "nothing heard of pods, namespaces";
    const first = conditions()["Ready"]?.lastTransitionTime ?? "";
    clock.advance(10_000);
    await settles("other words", () => conditions()["Ready"]?.message === problem);
    expect(conditions()["Ready"]?.lastTransitionTime).to.equal(first);
    expect(Date.parse(first)).to.be.at.least(Date.parse(before ?? ""));
  });

  it("should try again what could not be written", async function () {
    let refusals = 2;
    server.intercept = ({ method }) =>
      method === "PATCH" && refusals-- > 0 ? failure(500, "Internal", "later") : undefined;
    put([attachment("a")]);
    await settles("a refusal", () => refusals < 2);
    await settles("the write", () => {
      clock.advance(10_000);
      return conditions()["Supported"]?.observedGeneration === 2;
    });
  });
});

describe("docs/reference/shimmy-node.md", function () {
  it("should have a row for each reason of a condition", function () {
    const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/shimmy-node.md"), "utf8");
    const rows = [...text.matchAll(/^\| `(?<type>[A-Z]\w+)` \| `(?<reason>[A-Z]\w+)` \|/gm)];
    expect(rows.map(({ groups }) => `${groups?.["type"]} ${groups?.["reason"]}`)).to.deep.equal(
      Object.entries(NODE_CONDITION_REASONS).flatMap(([type, reasons]) =>
        reasons.map((reason) => `${type} ${reason}`),
      ),
    );
  });
});
