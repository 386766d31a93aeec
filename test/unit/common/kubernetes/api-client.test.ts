import { expect } from "chai";

import type { Credentials } from "../../../../common/kubernetes/access.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import type { ApiError } from "../../../../common/kubernetes/api-error.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";

describe("ApiClient", function () {
  let server: FakeApiServer;
  let client: ApiClient;
  let credentials: Credentials;

  async function fails(path: string, timeoutMs = 5000): Promise<ApiError> {
    try {
      await client.request({ path, timeoutMs });
    } catch (err) {
      expect(err).to.have.property("code", "SHIMMY_ERR_KUBERNETES_API");
      return err as ApiError;
    }
    throw new Error("it did not fail");
  }

  beforeEach(async function () {
    server = await FakeApiServer.start();
    credentials = { token: "first" };
    client = new ApiClient({ ...server.access, credentials: () => Promise.resolve(credentials) });
  });

  afterEach(async function () {
    await client.close();
    await server.close();
  });

  it("should throw what the server says", async function () {
    expect(await fails("/api/v1/nodes/none")).to.include({ status: 404, reason: "NotFound" });
    server.intercept = () => failure(429, "TooManyRequests", "busy", { "retry-after": "7" });
    const busy = await fails("/api/v1/nodes");
    expect(busy).to.include({ status: 429, retryAfterMs: 7000 });
    expect(busy.message).to.equal("GET /api/v1/nodes: 429: busy");
    server.intercept = () => failure(429, "TooManyRequests", "busy", { "retry-after": "999999" });
    expect((await fails("/api/v1/nodes")).retryAfterMs).to.equal(60_000);
  });

  it("should throw with status 0 when there is no answer", async function () {
    server.intercept = () => "drop";
    expect((await fails("/api/v1/nodes")).status).to.equal(0);
  });

  it("should not wait longer than it was told to", async function () {
    server.intercept = () => "hang";
    const begun = performance.now();
    expect((await fails("/api/v1/nodes", 100)).status).to.equal(0);
    expect(performance.now() - begun).to.be.within(90, 3000);
  });

  it("should read the token again after it was refused", async function () {
    server.intercept = ({ authorization }) =>
      authorization === "Bearer first" ? failure(401, "Unauthorized", "no") : undefined;
    credentials = { token: "first" };
    await fails("/api/v1/nodes");
    credentials = { token: "second" };
    expect(await client.request({ path: "/api/v1/nodes" })).to.have.property("items");
  });

  it("should make new connections when the certificates change", async function () {
    await client.request({ path: "/api/v1/nodes" });
    server.intercept = () => failure(401, "Unauthorized", "no");
    await fails("/api/v1/nodes");
    server.intercept = () => undefined;
    credentials = { token: "first", ca: "another" };
    expect(await client.request({ path: "/api/v1/nodes" })).to.have.property("items");
  });
});
