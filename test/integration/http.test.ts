import { expect } from "chai";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createHttp2Server, type Http2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";

import { startAppMesh, startNginx, type AppMesh, type Place } from "../helpers/apps.ts";
import { noise, noiseSha256, writeNoise } from "../helpers/noise.ts";
import { scaled } from "../helpers/random.ts";
import { mustRun } from "../helpers/run-program.ts";

const MIB = 1024 * 1024;
const UPLOAD_BYTES = 100 * MIB + 17;
const FILE_BYTES = 1024 * MIB;
const MANY_REQUESTS = scaled(300);

describe("HTTP over shared memory", function () {
  let apps: AppMesh;
  let http: Server;
  let http2: Http2Server;

  before(async function () {
    this.timeout(30_000);
    apps = await startAppMesh({ nginx: 8080, node: 8081, http2: 8082 });
    await startNginx(apps.mesh.workspace, apps.server("nginx"));
    http = createServer((request, response) => {
      void answer(request, response);
    });
    await listen(http, apps.server("node"));
    http2 = createHttp2Server();
    http2.on("stream", (stream) => {
      stream.respond({ ":status": 200 });
      void pipeline(stream, stream);
    });
    await listen(http2, apps.server("http2"));
  });

  beforeEach(async function () {
    await apps.mesh.carried("client");
  });

  after(async function () {
    await apps.mesh.close();
    http.closeAllConnections();
    http.close();
    http2.close();
  });

  it("should carry many requests of curl on one connection", async function () {
    this.timeout(10_000);
    writeNoise(apps.mesh.workspace.path("www/page"), "page", 10_000);
    const urls = Array.from({ length: MANY_REQUESTS }, () => url("nginx", "/page"));
    const result = await mustRun(["curl", "-sS", "--fail-with-body", ...urls]);
    expect(result.stdoutBytes).to.equal(MANY_REQUESTS * 10_000);
    await apps.mesh.assertCarried("client", 1);
  });

  it("should carry a connection for each request when none is kept", async function () {
    this.timeout(10_000);
    const urls = Array.from({ length: 50 }, () => url("nginx", "/page"));
    await mustRun(["curl", "-sS", "-f", "-H", "connection: close", "-o", "/dev/null", ...urls]);
    await apps.mesh.assertCarried("client", 50);
  });

  it("should carry a chunked upload and its answer unchanged", async function () {
    this.timeout(30_000);
    const argv = ["curl", "-sS", "-f", "-T", "-", url("node", "/sha256")];
    const { stdout } = await mustRun(argv, { input: noise("upload", UPLOAD_BYTES) });
    expect(stdout).to.equal(noiseSha256("upload", UPLOAD_BYTES));
    await apps.mesh.assertCarried("client", 1);
  });

  it("should carry a chunked download unchanged", async function () {
    this.timeout(30_000);
    const result = await mustRun(["curl", "-sS", "-f", url("node", "/noise")]);
    expect(result.stdoutSha256).to.equal(noiseSha256("download", UPLOAD_BYTES));
    await apps.mesh.assertCarried("client", 1);
  });

  it("should carry HTTP/2, with many streams on one connection", async function () {
    this.timeout(20_000);
    const body = Buffer.concat([...noise("http2", 5 * MIB)]);
    const curl = ["curl", "-sS", "-f", "--http2-prior-knowledge", "--data-binary", "@-"];
    const echo = await mustRun([...curl, url("http2", "/echo")], { input: body });
    expect(echo.stdoutSha256).to.equal(createHash("sha256").update(body).digest("hex"));
    const { stdout } = await mustRun([
      "h2load",
      ...["-n", "2000", "-c", "4", "-m", "32", "-p", "h2c"],
      url("http2", "/"),
    ]);
    expect(stdout).to.match(/2000 succeeded, 0 failed, 0 errored, 0 timeout/);
    await apps.mesh.assertCarried("client", 5);
  });

  it("should carry a file of 1 GiB unchanged", async function () {
    this.timeout(120_000);
    const path = apps.mesh.workspace.path("www/large");
    const sha256 = writeNoise(path, "large", FILE_BYTES);
    const result = await mustRun(["curl", "-sS", "-f", url("nginx", "/large")], {
      timeoutMs: 60_000,
    });
    expect(result.stdoutBytes).to.equal(FILE_BYTES);
    expect(result.stdoutSha256).to.equal(sha256);
    await apps.mesh.assertCarried("client", 1);
  });

  function url(service: string, path: string): string {
    const { address, port } = apps.local(service);
    return `http://${address}:${port}${path}`;
  }
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === "/noise") return pipeline(noise("download", UPLOAD_BYTES), response);
  const hash = createHash("sha256");
  for await (const part of request) hash.update(part as Buffer);
  response.end(hash.digest("hex"));
}

function listen(server: Server | Http2Server, { address, port }: Place): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, () => {
      resolve(server.address() as AddressInfo);
    });
  });
}
