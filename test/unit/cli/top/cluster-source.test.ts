import { expect } from "chai";

import { Cluster, explainApiError } from "../../../../cli/cluster/cluster.ts";
import { takeClusterSnapshot, type ClusterScope } from "../../../../cli/top/cluster-source.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { FakeApiServer, failure, type FakeAnswer } from "../../../helpers/fake-api-server.ts";
import { putAgent, putNode, putPod, SYSTEM } from "../check/healthy.ts";

const METRICS = `
shimmy_connections_total{direction="outbound",transport="shm"} 7
shimmy_connections_total{direction="outbound",transport="tcp"} 2
shimmy_fallbacks_total{reason="other_node_no_fabric"} 2
`;

interface AgentPage {
  readonly node: string;
  /** `namespace/name` of its pods. */
  readonly pods: readonly string[];
}

const AGENTS: readonly AgentPage[] = [
  { node: "n1", pods: ["shop/web-1", "bank/teller-1"] },
  { node: "n2", pods: ["shop/web-2"] },
];

function pageOf({ node, pods }: AgentPage, view: string): unknown {
  const identities = pods.map((pod) => {
    const [namespace, name] = pod.split("/");
    return { uid: name, namespace, name, node, addresses: [], injected: true, connected: true };
  });
  switch (view) {
    case "health":
      return {
        node,
        status: "ok",
        version: "0.1.0",
        uptimeSeconds: 1,
        catalog: {},
        failedPods: [],
      };
    case "pods":
      return { pods: identities };
    case "streams":
      return { streams: identities.map(({ uid }) => ({ pod: uid, peer: "web-1" })) };
    case "sessions":
      return { sessions: [{ id: `${node}-s`, initiator: identities[0]?.uid, responder: "x" }] };
    default:
      return { fallbacks: [] };
  }
}

describe("takeClusterSnapshot()", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let proxied: string[];

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    proxied = [];
    for (const { node } of AGENTS) {
      putNode(server, node);
      putAgent(server, node);
    }
    putNode(server, "n3");
    putPod(server, "web-1");
    server.put(
      { apiVersion: "v1", kind: "Pod", plural: "pods", isNamespaced: true },
      {
        metadata: { name: "web-2", namespace: "shop" },
        spec: { nodeName: "n2", containers: [{ name: "shimmy-sidecar" }] },
      },
    );
    server.intercept = ({ path }) => {
      const [, namespace = "", name = "", rest = ""] =
        /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+):14790\/proxy(.*)$/.exec(path) ?? [];
      if (rest === "") return undefined;
      proxied.push(`${namespace}/${name}${rest}`);
      return answerOf(name, rest);
    };
  });

  afterEach(async function () {
    await api.close();
    await server.close();
  });

  function answerOf(name: string, path: string): FakeAnswer {
    if (path === "/metrics") return { status: 200, text: METRICS };
    const agent = AGENTS.find(({ node }) => name === `shimmy-agent-${node}`);
    if (agent === undefined) return failure(404, "NotFound", "no such pod");
    return { status: 200, body: pageOf(agent, path.replace("/v1/", "")) };
  }

  function take(scope: Partial<ClusterScope>): ReturnType<typeof takeClusterSnapshot> {
    const cluster = new Cluster(api, server.access.server);
    return takeClusterSnapshot(cluster, { systemNamespace: SYSTEM, adminPort: 14_790, ...scope });
  }

  async function messageOf(scope: Partial<ClusterScope>): Promise<string> {
    const error: unknown = await take(scope).catch((err: unknown) => err);
    return explainApiError(error, "https://api").message;
  }

  it("should ask the agent of a node, and the sidecars there", async function () {
    const { agents, pods, traffic, names } = await take({ node: "n1" });
    expect(agents.map(({ node }) => node)).to.deep.equal(["n1"]);
    expect(pods.map(({ name }) => name)).to.deep.equal(["web-1", "teller-1"]);
    expect(names).to.deep.equal({ "web-1": "shop/web-1", "teller-1": "bank/teller-1" });
    expect(traffic.map(({ pod, shm, tcp }) => [pod, shm.outbound, tcp.outbound])).to.deep.equal([
      ["bank/teller-1", 7, 2],
      ["shop/web-1", 7, 2],
    ]);
    expect(traffic[0]?.fallbacks).to.deep.equal({ other_node_no_fabric: 2 });
    expect(proxied.some((path) => path.includes("n2"))).to.equal(false);
  });

  it("should show the pods of a namespace on all of its nodes, and no others", async function () {
    const { agents, pods, streams, sessions } = await take({ namespace: "shop" });
    expect(agents.map(({ node }) => node)).to.have.members(["n1", "n2"]);
    expect(pods.map(({ name }) => name)).to.have.members(["web-1", "web-2"]);
    expect(streams.map(({ pod }) => pod)).to.have.members(["web-1", "web-2"]);
    expect(sessions).to.have.length(2);
    expect(proxied).to.not.include("bank/teller-1/metrics");
  });

  it("should show the pods of a namespace on one node", async function () {
    const { pods } = await take({ namespace: "bank", node: "n1" });
    expect(pods.map(({ name }) => name)).to.deep.equal(["teller-1"]);
  });

  it("should leave counters out that a sidecar does not give", async function () {
    const behaviour = server.intercept;
    server.intercept = (request) =>
      request.path.includes("web-1:14790")
        ? { status: 503, text: "dial tcp: refused" }
        : behaviour(request);
    expect((await take({ node: "n1" })).traffic.map(({ pod }) => pod)).to.deep.equal([
      "bank/teller-1",
    ]);
  });

  it("should say that there is no such node, and which is meant", async function () {
    expect(await messageOf({ node: "n11" })).to.match(/^there is no node n11; did you mean "n1"/);
  });

  it("should say that a node has no agent", async function () {
    expect(await messageOf({ node: "n3" })).to.include("no agent runs on node n3");
  });

  it("should say that a namespace has no sidecars", async function () {
    expect(await messageOf({ namespace: "empty" })).to.equal(
      "no pod of the namespace empty has a sidecar",
    );
  });

  it("should say that Shimmy is not there", async function () {
    expect(await messageOf({ node: "n1", systemNamespace: "elsewhere" })).to.include(
      "no agent runs in the namespace elsewhere",
    );
  });

  it("should say that an agent does not answer", async function () {
    server.intercept = ({ path }) =>
      path.includes("/proxy/") ? failure(503, "ServiceUnavailable", "refused") : undefined;
    expect(await messageOf({ node: "n1" })).to.include(
      "the agent of node n1 does not answer: kubectl -n shimmy-system describe pod shimmy-agent-n1",
    );
  });

  it("should say that the API server does not allow it", async function () {
    server.intercept = ({ path }) =>
      path.includes("/proxy/")
        ? failure(403, "Forbidden", 'User "u" cannot get resource "pods/proxy"')
        : undefined;
    expect(await messageOf({ node: "n1" })).to.equal(
      'the API server does not allow it: User "u" cannot get resource "pods/proxy"',
    );
  });

  it("should say that the API server does not answer", async function () {
    server.intercept = () => "drop";
    expect(await messageOf({ node: "n1" })).to.match(
      /^the API server https:\/\/api does not answer:/,
    );
  });
});
