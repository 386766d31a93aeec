import { expect } from "chai";

import { Cluster, explainApiError } from "../../../../cli/cluster/cluster.ts";
import type { ApiRequest, KubernetesApi } from "../../../../common/kubernetes/api-client.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { ApiError } from "../../../../common/kubernetes/api-error.ts";
import { RESOURCES } from "../../../../common/kubernetes/resources.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";

const POD = { namespace: "shop", name: "web-1" };

class SeenApi implements KubernetesApi {
  readonly requests: ApiRequest[] = [];

  request(request: ApiRequest): Promise<unknown> {
    this.requests.push(request);
    return Promise.resolve({});
  }

  async *stream(request: ApiRequest): AsyncIterable<Buffer> {
    this.requests.push(request);
    yield await Promise.resolve(Buffer.from("page"));
  }
}

describe("Cluster#podPage()", function () {
  // An admin address answers requests for an address only, and the API server's proxy passes the
  // name on under which it was called itself: 403 without this.
  for (const [server, host] of [
    ["https://api.example.com:6443", "localhost"],
    ["https://10.0.0.1:6443", undefined],
    ["https://[fd00::1]:6443", undefined],
    ["https://localhost:6443", undefined],
  ] as const) {
    it(`should ask for ${host ?? "the server's own address"} through ${server}`, async function () {
      const api = new SeenApi();
      expect(await new Cluster(api, server).podPage(POD, 14_790, "/metrics")).to.equal("page");
      expect(api.requests[0]?.path).to.equal(
        "/api/v1/namespaces/shop/pods/web-1%3A14790/proxy/metrics",
      );
      expect(api.requests[0]?.host).to.equal(host);
    });
  }
});

describe("Cluster", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let cluster: Cluster;

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    cluster = new Cluster(api, server.access.server);
  });

  afterEach(async function () {
    await api.close();
    await server.close();
  });

  it("should list all pages, each object with its kind", async function () {
    for (let i = 0; i < 1001; i++) server.put(RESOURCES.nodes, { metadata: { name: `n${i}` } });
    const nodes = await cluster.list(RESOURCES.nodes);
    expect(nodes).to.have.length(1001);
    expect(server.lists("/nodes")).to.have.length(3);
    expect(nodes[1000]).to.include({ apiVersion: "v1", kind: "Node" });
  });

  it("should take a kind that is not there for one without objects", async function () {
    server.intercept = () => failure(404, "NotFound", "the server could not find it");
    expect(await cluster.list(RESOURCES.shimmyNodes)).to.deep.equal([]);
    expect(await cluster.get(RESOURCES.shimmyNodes, { name: "x" })).to.equal(undefined);
    expect(await cluster.delete(RESOURCES.shimmyNodes, { name: "x" })).to.equal(false);
    expect(await cluster.patch(RESOURCES.shimmyNodes, { name: "x" }, {})).to.equal(false);
  });
});

describe("explainApiError()", function () {
  for (const [status, message, expected] of [
    [
      0,
      "GET /api/v1/pods: connect ECONNREFUSED",
      /^the API server https:\/\/a does not answer: connect/,
    ],
    [401, "GET /x: 401: Unauthorized", /does not accept the credentials of the kubeconfig$/],
    [
      403,
      "GET /x: 403: pods is forbidden: no",
      /^the API server does not allow it: pods is forbidden: no$/,
    ],
    [500, "GET /x: 500: etcd is away", /^GET \/x: 500: etcd is away$/],
  ] as const) {
    it(`should make a sentence of ${status}`, function () {
      const error = explainApiError(new ApiError(message, { status }), "https://a");
      expect(error.message).to.match(expected);
      expect(error.code).to.equal("SHIMMY_ERR_KUBERNETES_API");
    });
  }
});
