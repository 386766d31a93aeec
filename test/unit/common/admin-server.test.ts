import { expect } from "chai";
import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";

import { AdminServer } from "../../../common/admin-server.ts";
import { captureLog } from "../sidecar/fakes.ts";

describe("AdminServer", function () {
  let server: AdminServer;
  let events: Record<string, unknown>[];

  beforeEach(async function () {
    const captured = captureLog();
    events = captured.events;
    server = await AdminServer.listen({
      address: "127.0.0.1",
      port: 0,
      log: captured.log,
      routes: {
        "/hello": (query) => ({
          contentType: "text/plain",
          body: `hello ${query.get("name") ?? ""}`,
        }),
        "/broken": () => {
          throw new Error("no secret of ours");
        },
      },
    });
  });

  afterEach(async function () {
    await server.close();
  });

  /** Sends bytes as they are; `fetch` would put them right. */
  async function raw(request: string): Promise<string> {
    const socket = connect(server.address.port, "127.0.0.1");
    await once(socket, "connect");
    socket.write(request);
    return await text(socket);
  }

  function get(host: string, rest = ""): Promise<string> {
    return raw(`GET /hello HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${rest}\r\n`);
  }

  it("should answer a path with its query", async function () {
    const reply = await fetch(`http://127.0.0.1:${server.address.port}/hello?name=you`);
    expect(reply.status).to.equal(200);
    expect(reply.headers.get("content-type")).to.equal("text/plain");
    expect(await reply.text()).to.equal("hello you");
  });

  for (const host of [
    "127.0.0.1",
    "127.0.0.1:14790",
    "10.1.2.3:80",
    "[::1]:1",
    "localhost",
    "LOCALHOST:9",
  ]) {
    it(`should answer host ${host}`, async function () {
      expect(await get(host)).to.match(/^HTTP\/1.1 200 /);
    });
  }

  // A name that the owner of a page can point at us.
  for (const host of [
    "evil.example",
    "evil.example:14790",
    "127.0.0.1.evil.example",
    "[evil]",
    "",
  ]) {
    it(`should refuse host ${JSON.stringify(host)}`, async function () {
      expect(await get(host)).to.match(/^HTTP\/1.1 403 .*SHIMMY_ERR_PROTOCOL/s);
    });
  }

  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"]) {
    it(`should refuse ${method}`, async function () {
      const reply = await raw(`${method} /hello HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      expect(reply).to.match(/^HTTP\/1.1 405 .*Allow: GET/s);
    });
  }

  it("should refuse a body", async function () {
    const reply = await get("localhost", "Content-Length: 5\r\n");
    expect(reply).to.match(/^HTTP\/1.1 413 /);
  });

  it("should name its paths when there is no such path", async function () {
    for (const path of ["/none", "/__proto__", "/hello/", "http://localhost/hello"]) {
      const reply = await raw(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      expect(reply).to.match(/^HTTP\/1.1 404 .*there are \/hello \/broken/s);
    }
  });

  it("should log what went wrong in it", async function () {
    const reply = await raw(`GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(reply).to.match(/^HTTP\/1.1 500 /);
    expect(events[0]).to.include({ level: "error", msg: "admin request failed" });
  });

  it("should refuse what is not HTTP, and headers without end", async function () {
    expect(await raw("\x16\x03\x01\r\n\r\n")).to.match(/^HTTP\/1.1 400 /);
    const headers = await raw(`GET /hello HTTP/1.1\r\nHost: localhost\r\nA: ${"b".repeat(9000)}`);
    expect(headers).to.match(/^HTTP\/1.1 431 /);
  });

  it("should refuse an address that is taken, in one line", async function () {
    const { port } = server.address;
    const second = AdminServer.listen({
      address: "127.0.0.1",
      port,
      routes: {},
      log: captureLog().log,
    });
    const err: unknown = await second.catch((caught: unknown) => caught);
    expect(err).to.have.property("code", "SHIMMY_ERR_ADDRESS_IN_USE");
    expect(err)
      .to.have.property("message")
      .that.equals(`admin address 127.0.0.1:${port}: another program listens there`);
  });

  it("should refuse an address that is not this machine's", async function () {
    const other = AdminServer.listen({
      address: "192.0.2.1",
      port: 0,
      routes: {},
      log: captureLog().log,
    });
    const err: unknown = await other.catch((caught: unknown) => caught);
    expect(err).to.have.property("code", "SHIMMY_ERR_ADDRESS_NOT_AVAILABLE");
  });
});
