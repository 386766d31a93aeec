import { once } from "node:events";
import { existsSync, mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { expect } from "chai";

import { ApiServer, type ApiServerOptions } from "../../../agent/api-server.ts";
import type { Change } from "../../../agent/channels/routes.ts";
import { createAgentMetrics } from "../../../agent/metrics.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { duplicateFd } from "../../../shm-core/lib/control-socket.ts";
import { socketFds } from "../../helpers/socket-fds.ts";
import { FakeNative, silentLog } from "./fakes.ts";

describe("ApiServer", function () {
  let directory: string;
  let path: string;
  let server: ApiServer | undefined;

  async function listen(options: Partial<ApiServerOptions> = {}): Promise<void> {
    server = await ApiServer.listen({
      on: { path, mode: 0o600 },
      admit: () => undefined,
      takeRequest: () => true,
      route: (route) => (route === "/ok" ? { contentType: "text/plain", body: "fine" } : undefined),
      maxConnections: 4,
      native: new FakeNative(),
      metrics: createAgentMetrics(),
      log: silentLog(),
      ...options,
    });
  }

  async function ask(
    target: string,
    {
      method = "GET",
      headers = {},
      body = "",
    }: { method?: string; headers?: object; body?: string } = {},
  ): Promise<{ status: number | undefined; headers: IncomingMessage["headers"]; body: string }> {
    const outgoing = request({ socketPath: path, path: target, method, headers: { ...headers } });
    outgoing.on("error", () => undefined).end(body);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    return { status: response.statusCode, headers: response.headers, body: await text(response) };
  }

  /** Sends bytes as they are, and returns all that comes back. */
  async function send(bytes: string): Promise<string> {
    const socket = connect(path);
    socket.on("error", () => undefined);
    socket.write(bytes);
    return text(socket);
  }

  function codeOf(body: string): string {
    return (JSON.parse(body) as { code: string }).code;
  }

  beforeEach(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-api-"));
    path = join(directory, "api.sock");
  });

  afterEach(async function () {
    await server?.close();
    server = undefined;
    rmSync(directory, { recursive: true });
  });

  it("should answer GET and HEAD, whatever the query", async function () {
    await listen();
    const got = await ask("/ok?x=1");
    expect(got).to.include({ status: 200, body: "fine" });
    expect(got.headers).to.include({ "content-type": "text/plain", "content-length": "4" });
    const head = await ask("/ok", { method: "HEAD" });
    expect(head).to.include({ status: 200, body: "" });
    expect(head.headers).to.include({ "content-length": "4" });
  });

  it("should set the mode of the file, and remove it at the end", async function () {
    await listen({ on: { path, mode: 0o666 } });
    expect(statSync(path).mode & 0o777).to.equal(0o666);
    await server?.close();
    expect(existsSync(path)).to.equal(false);
  });

  it("should serve on a socket that listens already, and leave its file", async function () {
    const before = new Set(socketFds());
    const maker = createServer().listen(path);
    await once(maker, "listening");
    const [made = -1] = socketFds().filter((fd) => !before.has(fd));
    const fd = duplicateFd(made);
    await listen({ on: { fd } });
    expect(fd.isClosed).to.equal(true);
    // Whoever made it may go: what is served on is a descriptor of the server's own.
    renameSync(path, `${path}.kept`);
    maker.close();
    path = `${path}.kept`;
    expect((await ask("/ok")).status).to.equal(200);
    await server?.close();
    expect(existsSync(path)).to.equal(true);
  });

  it("should not take the path of another that listens", async function () {
    await listen();
    const first = server;
    const error: unknown = await listen().catch((err: unknown) => err);
    expect(error).to.have.property("code", "SHIMMY_ERR_ADDRESS_IN_USE");
    server = first;
    expect((await ask("/ok")).status).to.equal(200);
  });

  it("should throw SHIMMY_ERR_SYSTEM when it cannot be bound", async function () {
    path = join(directory, "none", "api.sock");
    const error: unknown = await listen().catch((err: unknown) => err);
    expect(error).to.have.property("code", "SHIMMY_ERR_SYSTEM");
    // libuv answers EACCES where the kernel says ENOENT (src/unix/pipe.c, uv_pipe_bind2).
    expect(error).to.have.nested.property("cause.code", "EACCES");
  });

  const refused: [
    what: string,
    target: string,
    options: Parameters<typeof ask>[1],
    status: number,
    code: string,
  ][] = [
    ["an unknown path", "/no", {}, 404, "SHIMMY_ERR_NOT_FOUND"],
    ["a path that objects have by themselves", "/constructor", {}, 404, "SHIMMY_ERR_NOT_FOUND"],
    ["POST", "/ok", { method: "POST" }, 405, "SHIMMY_ERR_METHOD_NOT_ALLOWED"],
    ["a body", "/ok", { headers: { "content-length": 5 }, body: "12345" }, 413, "SHIMMY_ERR_LIMIT"],
    [
      "a body in chunks",
      "/ok",
      { headers: { "transfer-encoding": "chunked" }, body: "12345" },
      413,
      "SHIMMY_ERR_LIMIT",
    ],
  ];
  for (const [what, target, options, status, code] of refused) {
    it(`should answer ${status} to ${what}`, async function () {
      await listen();
      const reply = await ask(target, options);
      expect(reply.status).to.equal(status);
      expect(codeOf(reply.body)).to.equal(code);
      expect(reply.headers.connection).to.equal("close");
    });
  }

  describe("with something to change", function () {
    const json = { "content-type": "application/json" };
    let changes: Change[];

    beforeEach(async function () {
      changes = [];
      await listen({
        change: (change) => {
          changes.push(change);
          return Promise.resolve(
            change.path === "/things" ? { status: 201, body: { made: true } } : undefined,
          );
        },
      });
    });

    it("should pass JSON on, and answer with what came of it", async function () {
      const reply = await ask("/things?force=true", { method: "POST", headers: json, body: "[1]" });
      expect(reply).to.include({ status: 201, body: '{"made":true}' });
      expect(changes).to.have.length(1);
      expect(changes[0]).to.deep.include({ method: "POST", path: "/things", body: [1] });
      expect(changes[0]?.query.get("force")).to.equal("true");
      await ask("/things", { method: "DELETE" });
      expect(changes[1]).to.deep.include({ method: "DELETE", body: undefined });
    });

    const refusedChanges: [
      what: string,
      options: NonNullable<Parameters<typeof ask>[1]>,
      status: number,
    ][] = [
      ["another path", { method: "DELETE" }, 405],
      ["PUT", { method: "PUT" }, 405],
      [
        "plain text",
        { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" },
        400,
      ],
      ["what is no JSON", { method: "POST", headers: json, body: "{" }, 400],
      ["a long body", { method: "POST", headers: json, body: " ".repeat(5000) }, 413],
      [
        "DELETE with a body",
        { method: "DELETE", headers: { "content-length": 2 }, body: "{}" },
        413,
      ],
    ];
    for (const [what, options, status] of refusedChanges) {
      it(`should answer ${status} to ${what}`, async function () {
        expect((await ask("/nothing", options)).status).to.equal(status);
      });
    }
  });

  it("should name the methods there are", async function () {
    await listen();
    expect((await ask("/ok", { method: "DELETE" })).headers.allow).to.equal("GET, HEAD");
  });

  it("should answer 429 beyond the rate", async function () {
    await listen({ takeRequest: () => false });
    const reply = await ask("/ok");
    expect(reply.status).to.equal(429);
    expect(reply.headers["retry-after"]).to.equal("1");
    expect(codeOf(reply.body)).to.equal("SHIMMY_ERR_RATE_LIMITED");
  });

  it("should answer 403 to one that is not admitted, on every path", async function () {
    await listen({ admit: () => new ShimmyError("SHIMMY_ERR_NOT_ATTESTED", "not you") });
    for (const target of ["/ok", "/no"]) {
      expect(JSON.parse((await ask(target)).body)).to.deep.equal({
        code: "SHIMMY_ERR_NOT_ATTESTED",
        message: "not you",
      });
    }
  });

  it("should answer 403 when the kernel does not say who it is", async function () {
    const native = new FakeNative();
    native.peerCredentials = () => {
      throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "fd -1");
    };
    await listen({ native });
    expect((await ask("/ok")).status).to.equal(403);
  });

  it("should answer 500 when a route fails, and go on", async function () {
    await listen({ route: () => Promise.reject(new Error("broken")) });
    const reply = await ask("/ok");
    expect(reply.status).to.equal(500);
    expect(codeOf(reply.body)).to.equal("SHIMMY_ERR_INTERNAL");
    expect((await ask("/ok")).status).to.equal(500);
  });

  it("should answer 400 to what is not HTTP", async function () {
    await listen();
    const reply = await send("\u0000\u0001\r\n\r\n");
    expect(reply).to.match(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(codeOf(reply.split("\r\n\r\n")[1] ?? "")).to.equal("SHIMMY_ERR_PROTOCOL");
  });

  it("should answer 431 to headers without end", async function () {
    await listen();
    const reply = await send(`GET /ok HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(100_000)}`);
    expect(reply).to.match(/^HTTP\/1\.1 431 /);
  });

  it("should answer 408 to headers that do not come", async function () {
    await listen({ requestTimeoutMs: 100 });
    expect(await send("GET /ok HTTP/1.1\r\nHost: x\r\n")).to.match(/^HTTP\/1\.1 408 /);
  });

  it("should close connections beyond the bound, and serve those within", async function () {
    await listen({ maxConnections: 2 });
    const sockets = [1, 2, 3, 4].map(() => connect(path).on("error", () => undefined));
    await Promise.all(sockets.slice(2).map((socket) => once(socket, "close")));
    sockets[0]?.destroy();
    await once(sockets[0] as object as NodeJS.EventEmitter, "close");
    await new Promise((resolve) => setImmediate(resolve));
    expect((await ask("/ok")).status).to.equal(200);
    for (const socket of sockets) socket.destroy();
  });
});
