import { expect } from "chai";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { formatHost, getJson, getText } from "../../../cli/http.ts";

describe("getText() and getJson()", function () {
  let server: Server;
  let directory: string;
  let url: string;

  beforeEach(function (done) {
    directory = mkdtempSync(join(tmpdir(), "shimmy-http-"));
    server = createServer((request, response) => {
      if (request.url === "/missing") response.statusCode = 404;
      response.end(request.url === "/json" ? '{"a":1}' : "text");
    });
    server.listen(0, "127.0.0.1", () => {
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      done();
    });
  });

  afterEach(function (done) {
    rmSync(directory, { recursive: true });
    server.close(done);
  });

  it("should fetch text and JSON", async function () {
    expect(await getText({ url: `${url}/x` })).to.equal("text");
    expect(await getJson({ url: `${url}/json` })).to.deep.equal({ a: 1 });
  });

  it("should give undefined for failures, and for what is not JSON", async function () {
    expect(await getText({ url: `${url}/missing` })).to.equal(undefined);
    expect(await getJson({ url: `${url}/x` })).to.equal(undefined);
    const socketPath = join(directory, "nobody.sock");
    expect(await getText({ socketPath, path: "/" })).to.equal(undefined);
  });

  it("should fetch over a Unix socket", async function () {
    const socketPath = join(directory, "s.sock");
    const local = createServer((_request, response) => response.end("[2]"));
    await new Promise<void>((resolve) => {
      local.listen(socketPath, resolve);
    });
    expect(await getJson({ socketPath, path: "/v1/pods" })).to.deep.equal([2]);
    local.close();
  });
});

describe("formatHost()", function () {
  it("should put brackets around IPv6 addresses", function () {
    expect(formatHost("::1", 80)).to.equal("[::1]:80");
    expect(formatHost("127.0.0.1", 80)).to.equal("127.0.0.1:80");
  });
});
