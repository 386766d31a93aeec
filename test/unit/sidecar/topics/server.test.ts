import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { expect } from "chai";
import { WebSocket } from "ws";

import { ShimmyError, type ShimmyErrorCode } from "../../../../common/errors.ts";
import { createTopicCounters, type TopicCounters } from "../../../../sidecar/topics/counters.ts";
import { TopicServer, type TopicServerOptions } from "../../../../sidecar/topics/server.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeClock } from "../../agent/fakes.ts";
import { captureLog } from "../fakes.ts";
import { FakeTransport } from "./fake-transport.ts";

const BYTES = { "content-type": "application/octet-stream" };

interface Reply {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** A response that goes on. */
class Lines {
  readonly response: IncomingMessage;
  #text = "";

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding("utf8").on("data", (part: string) => (this.#text += part));
    response.on("error", () => undefined);
  }

  /** Waits for a number of blocks, each ended by `end`. */
  async take(count: number, end = "\n"): Promise<string[]> {
    await eventually(`${count} blocks in ${JSON.stringify(this.#text)}`, () => {
      return this.#text.split(end).length > count;
    });
    const blocks = this.#text.split(end);
    this.#text = blocks.slice(count).join(end);
    return blocks.slice(0, count);
  }

  async json(count: number): Promise<Record<string, unknown>[]> {
    return (await this.take(count)).map((line) => JSON.parse(line) as Record<string, unknown>);
  }
}

/** Memory that is in use once garbage is collected. */
function keptBytes(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { external, heapUsed } = process.memoryUsage();
  return external + heapUsed;
}

describe("TopicServer", function () {
  let transport: FakeTransport;
  let counters: TopicCounters;
  let clock: FakeClock;
  let server: TopicServer;
  let sockets: (WebSocket | IncomingMessage | Socket)[];
  let port: number;

  async function start(options: Partial<TopicServerOptions> = {}): Promise<void> {
    server = await TopicServer.listen({
      addresses: [{ address: "127.0.0.1", port: 0 }],
      origins: ["http://localhost:3000"],
      bufferBytes: 65_536,
      push: [],
      namespace: "default",
      transport,
      counters,
      clock,
      log: captureLog().log,
      ...options,
    });
    port = server.addresses[0]?.port ?? 0;
  }

  beforeEach(async function () {
    transport = new FakeTransport();
    counters = createTopicCounters();
    clock = new FakeClock();
    sockets = [];
    await start();
  });

  afterEach(async function () {
    for (const socket of sockets) {
      if (socket instanceof WebSocket) socket.terminate();
      else socket.destroy();
    }
    await server.abort();
    expect(transport.isClosed).to.equal(true);
    expect(clock.pending).to.equal(0);
    for (const channel of transport.channels.values()) {
      expect(channel.readers.size + channel.writers).to.equal(0);
    }
  });

  async function open(
    path: string,
    {
      method = "GET",
      headers = {},
      body,
    }: { method?: string; headers?: object; body?: string | Buffer } = {},
  ): Promise<IncomingMessage> {
    const outgoing = httpRequest({ port, path, method, headers: { ...headers }, agent: false });
    outgoing.on("error", () => undefined);
    outgoing.end(body);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    sockets.push(response);
    return response;
  }

  async function ask(path: string, options?: Parameters<typeof open>[1]): Promise<Reply> {
    const response = await open(path, options);
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: await text(response),
    };
  }

  function post(topic: string, body: string | Buffer, headers: object = BYTES): Promise<Reply> {
    return ask(`/v1/topics/${topic}`, { method: "POST", headers, body });
  }

  async function subscribe(topic: string, headers: object = {}): Promise<Lines> {
    const response = await open(`/v1/topics/${topic}`, { headers });
    expect(response.statusCode).to.equal(200);
    return new Lines(response);
  }

  async function socketTo(
    topic: string,
    protocols: string[] = [],
    headers = {},
  ): Promise<WebSocket> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/topics/${topic}`, protocols, {
      headers,
    });
    sockets.push(socket);
    await once(socket, "open");
    return socket;
  }

  function expectProblem(
    reply: Reply,
    status: number,
    code: ShimmyErrorCode,
    reason: string,
  ): void {
    expect(reply.headers["content-type"]).to.equal("application/problem+json");
    expect(JSON.parse(reply.body)).to.include({ status, code, reason });
    expect(reply.status).to.equal(status);
    expect(
      Object.keys(reply.headers).filter((name) => name.startsWith("access-control")),
    ).to.deep.equal([]);
  }

  describe("POST", function () {
    it("should publish the body as it is, to both spellings of the topic", async function () {
      const channel = transport.add("default/jobs", { kind: "lock" });
      const binary = Buffer.from([0, 255, 10, 13]);
      const reply = await post("jobs", binary);
      expect(reply.status).to.equal(202);
      expect(JSON.parse(reply.body)).to.deep.equal({ topic: "default/jobs" });
      expect(
        (await post("default/jobs", '{"a":1}', { "content-type": "application/json" })).status,
      ).to.equal(202);
      expect(channel.entries.map(({ data }) => data)).to.deep.equal([
        binary,
        Buffer.from('{"a":1}'),
      ]);
      expect(channel.writers).to.equal(1);
      expect(counters).to.include({ published: 2, publishedBytes: 11 });
    });

    for (const type of [
      "text/plain",
      "TEXT/plain; charset=utf-8",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      undefined,
      "",
      "nonsense",
    ]) {
      it(`should refuse the content type ${String(type)}, which a page may send unasked`, async function () {
        const channel = transport.add("default/jobs", { kind: "lock" });
        const reply = await post("jobs", "x", type === undefined ? {} : { "content-type": type });
        expectProblem(reply, 415, "SHIMMY_ERR_INVALID_OPTION", "content_type");
        expect(reply.body).to.include("send application/octet-stream");
        expect(counters.refused.content_type).to.equal(1);
        expect(channel.entries).to.deep.equal([]);
      });
    }

    it("should say 503 when the channel is full, after the time that was asked for", async function () {
      const channel = transport.add("default/jobs", { kind: "lock", slots: 1 });
      await post("jobs", "1");
      const full = await post("jobs?timeout=20ms", "2");
      expectProblem(full, 503, "SHIMMY_ERR_TIMEOUT", "full");
      expect(full.headers["retry-after"]).to.equal("1");
      const waits = post("jobs?timeout=5s", "3");
      await delay(20);
      channel.entries.length = 0;
      channel.change();
      expect((await waits).status).to.equal(202);
    });

    it("should refuse what is larger than the channel, or than the buffer", async function () {
      transport.add("default/small", { kind: "lock", maxBytes: 10 });
      transport.add("default/large", { kind: "lock", maxBytes: 1e9 });
      const small = await post("small", Buffer.alloc(11));
      expectProblem(small, 413, "SHIMMY_ERR_MESSAGE_TOO_BIG", "too_big");
      expect(small.body).to.include("at most 10 bytes");
      const large = await post("large", Buffer.alloc(65_537));
      expect(large.body).to.include("SHIMMY_TOPICS_BUFFER");
      // No length in front: found out on the way.
      const chunked = httpRequest({
        port,
        path: "/v1/topics/small",
        method: "POST",
        headers: BYTES,
      });
      chunked.write(Buffer.alloc(6));
      chunked.end(Buffer.alloc(6));
      const [response] = (await once(chunked, "response")) as [IncomingMessage];
      expect(response.statusCode).to.equal(413);
      expect(counters.refused.too_big).to.equal(3);
    });

    it("should hold no more bytes than its buffer, and give them back when clients go", async function () {
      const channel = transport.add("default/jobs", { kind: "lock", maxBytes: 60_000, slots: 100 });
      const slow = httpRequest({
        port,
        path: "/v1/topics/jobs",
        method: "POST",
        headers: { ...BYTES, "content-length": "60000" },
      });
      slow.on("error", () => undefined);
      slow.write("x");
      await delay(50);
      const second = post("jobs", Buffer.alloc(60_000));
      await delay(50);
      expect(channel.entries).to.deep.equal([]);
      slow.destroy();
      expect((await second).status).to.equal(202);
      expect(channel.entries).to.have.length(1);
      expect(counters.refused.internal).to.equal(0);
    });

    const refusals: [string, ShimmyErrorCode, number, string][] = [
      ["a role that is not had", "SHIMMY_ERR_TOPIC_DENIED", 403, "denied"],
      ["an agent that is away", "SHIMMY_ERR_AGENT_UNAVAILABLE", 503, "agent_away"],
      ["a limit", "SHIMMY_ERR_LIMIT", 503, "limit"],
      ["what is not expected", "SHIMMY_ERR_SYSTEM", 500, "internal"],
    ];
    for (const [what, code, status, reason] of refusals) {
      it(`should say that of ${what}, and try again with the next request`, async function () {
        transport.add("default/jobs", { kind: "lock" });
        transport.refusal = new ShimmyError(code, "no");
        expectProblem(await post("jobs", "x"), status, code, reason);
        expect((await ask("/v1/topics/jobs")).status).to.equal(status);
        transport.refusal = undefined;
        expect((await post("jobs", "x")).status).to.equal(202);
      });
    }

    it("should tell a topic that is not there from a path that is none, and make it when asked", async function () {
      expectProblem(await post("nothing", "x"), 404, "SHIMMY_ERR_NOT_FOUND", "unknown_topic");
      for (const path of [
        "/",
        "/v1/topics/",
        "/v1/topics/a/b/c",
        "/v1/topics/UPPER",
        "/v1/topics/..",
        "/v1/topics/a%2fb",
      ]) {
        expectProblem(
          await ask(path, { method: "POST", headers: BYTES }),
          404,
          "SHIMMY_ERR_NOT_FOUND",
          "path",
        );
      }
      expect((await post("nothing?create=lockfree", "x")).status).to.equal(202);
      expect(transport.channels.get("default/nothing")?.options.kind).to.equal("lockfree");
    });

    for (const query of [
      "timeout=1h",
      "timeout=x",
      "create=tcp",
      "from=1",
      "timeout=1s&timeout=2s",
    ]) {
      it(`should refuse ?${query}`, async function () {
        expectProblem(
          await post(`jobs?${query}`, "x"),
          400,
          "SHIMMY_ERR_INVALID_OPTION",
          "bad_request",
        );
      });
    }

    it("should give up a producer's role when it is idle, and keep a publisher's", async function () {
      const jobs = transport.add("default/jobs", { kind: "lock" });
      const prices = transport.add("default/prices", { kind: "lockfree" });
      await post("jobs", "x");
      await post("prices", "x");
      clock.advance(60_000);
      await delay(10);
      expect(jobs.writers, "while there is something to read").to.equal(1);
      jobs.entries.length = 0;
      clock.advance(1000);
      await eventually("it to be given up", () => jobs.writers === 0);
      expect(prices.writers).to.equal(1);
      expect((await post("jobs", "y")).status).to.equal(202);
    });
  });

  describe("guards", function () {
    for (const host of [
      "evil.example",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      "10.0.0.1",
      "[::2]",
      "0.0.0.0",
      "127.0.0.256",
    ]) {
      it(`should refuse the host ${JSON.stringify(host)}`, async function () {
        transport.add("default/jobs", { kind: "lock" });
        const headers = { ...BYTES, host };
        expectProblem(
          await ask("/v1/topics/jobs", { headers }),
          403,
          "SHIMMY_ERR_PROTOCOL",
          "host",
        );
        expectProblem(await post("jobs", "x", headers), 403, "SHIMMY_ERR_PROTOCOL", "host");
        expect(counters.refused.host).to.equal(2);
      });
    }

    for (const host of [
      "localhost",
      "LOCALHOST:80",
      "127.0.0.1:14791",
      "127.3.2.1",
      "[::1]:14791",
      "[0:0:0:0:0:0:0:1]",
    ]) {
      it(`should answer to the host ${host}`, async function () {
        transport.add("default/jobs", { kind: "lock" });
        expect((await post("jobs", "x", { ...BYTES, host })).status).to.equal(202);
      });
    }

    const foreign: Record<string, object> = {
      "another origin": { origin: "https://evil.example" },
      "another port of this machine": { origin: "http://localhost:3001" },
      "an opaque origin": { origin: "null" },
      "an image": { "sec-fetch-site": "cross-site" },
      "a page of the same site": { "sec-fetch-site": "same-site" },
    };
    for (const [what, headers] of Object.entries(foreign)) {
      it(`should refuse ${what}, to write, to read and by WebSocket`, async function () {
        const channel = transport.add("default/jobs", { kind: "lock" });
        expectProblem(
          await post("jobs", "x", { ...BYTES, ...headers }),
          403,
          "SHIMMY_ERR_PROTOCOL",
          "origin",
        );
        expectProblem(
          await ask("/v1/topics/jobs", { headers }),
          403,
          "SHIMMY_ERR_PROTOCOL",
          "origin",
        );
        const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/topics/jobs`, {
          headers: { ...headers },
        });
        const [err] = (await once(socket, "error")) as [Error];
        expect(err.message).to.equal("Unexpected server response: 403");
        expect(counters.refused.origin).to.equal(3);
        expect(channel.attached + channel.entries.length).to.equal(0);
      });
    }

    it("should let in the origins that are configured, without a header of CORS", async function () {
      transport.add("default/jobs", { kind: "lock" });
      const reply = await post("jobs", "x", { ...BYTES, origin: "http://localhost:3000" });
      expect(reply.status).to.equal(202);
      expect(reply.headers).not.to.have.property("access-control-allow-origin");
    });

    it("should refuse other methods, preflights among them", async function () {
      for (const method of ["OPTIONS", "PUT", "DELETE", "HEAD", "PATCH"]) {
        const reply = await ask("/v1/topics/jobs", { method });
        expect(reply.status).to.equal(405);
        expect(reply.headers.allow).to.equal("GET, POST");
      }
      expect(counters.refused.method).to.equal(5);
    });

    it("should refuse large headers, and upgrades to anything else", async function () {
      const large = await ask("/v1/topics/jobs", { headers: { "x-large": "x".repeat(17_000) } });
      expect(large.status).to.equal(431);
      const socket = connect(port, "127.0.0.1");
      sockets.push(socket);
      socket.write(
        "GET /v1/topics/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
      );
      expect(await text(socket)).to.match(/^HTTP\/1\.1 400 Bad Request\r\n/);
      expect(counters.refused.bad_request).to.equal(2);
    });

    it("should outlive handshakes and frames that are none, and let go of what was opened", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree" });
      const head =
        "GET /v1/topics/prices HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n" +
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
      const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
      for (const bytes of [`${head}\r\n`, `${head}${key}\r\n\u007f\u007f\u007f\u007f`]) {
        const socket = connect(port, "127.0.0.1");
        sockets.push(socket);
        socket.on("error", () => undefined);
        socket.write(Buffer.from(bytes, "latin1"));
        await once(socket.resume(), "close");
        await eventually("it to be let go", () => channel.readers.size === 0);
      }
      expect(channel.attached).to.equal(2);
      expect(counters.subscribers.websocket).to.equal(0);
    });

    it("should not wait for a refused client to close", async function () {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      sockets.push(socket);
      socket.on("error", () => undefined);
      socket.write("nonsense\r\n\r\n");
      socket.resume();
      // Its own half is open, and stays so until the other side does not take any more.
      await eventually("it to be cut off", () => {
        if (!socket.destroyed) socket.write("x");
        return socket.destroyed;
      });
    });

    it("should bound what all subscribers are sent at once", async function () {
      transport.add("default/large", { kind: "lockfree", maxBytes: 40e6 });
      await subscribe("large");
      expectProblem(await ask("/v1/topics/large"), 503, "SHIMMY_ERR_LIMIT", "limit");
    });

    it("should cut off who is slow to send a request", async function () {
      this.timeout(20_000);
      const socket = connect(port, "127.0.0.1");
      sockets.push(socket);
      socket.write("POST /v1/topics/jobs HTTP/1.1\r\nHost: localhost\r\n");
      expect(await text(socket)).to.match(/^HTTP\/1\.1 408 /);
    });
  });

  describe("GET of a lock-free topic", function () {
    it("should give every subscriber every message, as lines of JSON", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree" });
      const all = [await subscribe("prices"), await subscribe("default/prices")];
      channel.publish(Buffer.from("text\n"));
      channel.publish(Buffer.from([255]));
      for (const lines of all) {
        expect(lines.response.headers["content-type"]).to.equal("application/x-ndjson");
        expect(await lines.json(2)).to.deep.equal([
          { id: "7:1", sequence: 1, generation: 7, data: "text\n" },
          { id: "7:2", sequence: 2, generation: 7, data_base64: "/w==" },
        ]);
      }
      expect(counters).to.include({ delivered: 4, deliveredBytes: 12 });
      expect(counters.subscribers).to.include({ ndjson: 2, sse: 0 });
    });

    it("should give server-sent events in which payload stays payload", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree" });
      const events = await subscribe("prices", { accept: "text/event-stream" });
      expect(events.response.headers["content-type"]).to.equal("text/event-stream");
      channel.publish(Buffer.from("a\n\nevent: gap\ndata: {}"));
      channel.publish(Buffer.from("with\rreturn"));
      expect(await events.take(2, "\n\n")).to.deep.equal([
        "id: 7:1\ndata: a\ndata: \ndata: event: gap\ndata: data: {}",
        `id: 7:2\nevent: binary\ndata: ${Buffer.from("with\rreturn").toString("base64")}`,
      ]);
    });

    it("should give WebSocket frames: binary for payload, text for what is said of it", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree", slots: 2 });
      for (let i = 0; i < 5; i++) channel.publish(Buffer.of(i));
      const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/topics/prices?from=7:1&max=2`);
      const frames: [string, boolean][] = [];
      socket.on("message", (data: Buffer, isBinary) =>
        frames.push([data.toString("latin1"), isBinary]),
      );
      const [code] = (await once(socket, "close")) as [number];
      expect(frames).to.deep.equal([
        ['{"gap":{"missed":2}}', false],
        ["\u0003", true],
        ["\u0004", true],
      ]);
      expect(code).to.equal(1000);
    });

    it("should give lines of JSON over WebSocket when asked by subprotocol", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree" });
      const socket = await socketTo("prices", ["other", "shimmy.json"]);
      expect(socket.protocol).to.equal("shimmy.json");
      const next = once(socket, "message") as Promise<[Buffer, boolean]>;
      await eventually("it to be attached", () => channel.readers.size === 1);
      channel.publish(Buffer.from("x"));
      const [data, isBinary] = await next;
      expect(isBinary).to.equal(false);
      expect(JSON.parse(data.toString())).to.deep.equal({
        id: "7:1",
        sequence: 1,
        generation: 7,
        data: "x",
      });
      const closed = once(socket, "close") as Promise<[number]>;
      socket.send("hello");
      expect((await closed)[0]).to.equal(1008);
    });

    it("should begin where it is asked to, and say what is not there any more", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree", slots: 3 });
      for (let i = 1; i <= 5; i++) channel.publish(Buffer.from(String(i)));
      const data = async (query: string, headers = {}): Promise<unknown[]> => {
        const lines = await subscribe(`prices${query}`, headers);
        channel.publish(Buffer.from("new"));
        const found: unknown[] = [];
        while (found.at(-1) !== "new") {
          const [line] = await lines.json(1);
          found.push(line?.["gap"] ?? line?.["data"]);
        }
        return found;
      };
      expect(await data("")).to.deep.equal(["new"]);
      expect(await data("?from=newest")).to.deep.equal(["new"]);
      // What is there now: 5, new, new.
      expect((await data("?from=oldest")).slice(0, 2)).to.deep.equal(["5", "new"].slice(0, 2));
    });

    it("should resume behind an id, with the number that was missed", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree", slots: 3 });
      for (let i = 1; i <= 6; i++) channel.publish(Buffer.from(String(i)));
      const id = { "last-event-id": "7:4" };
      const events = await subscribe("prices", { ...id, accept: "text/event-stream" });
      expect(await events.take(2, "\n\n")).to.deep.equal(["id: 7:5\ndata: 5", "id: 7:6\ndata: 6"]);
      expect(await (await subscribe("prices?from=7:1")).json(2)).to.deep.include({
        gap: { missed: 2 },
      });
      expect(await (await subscribe("prices?from=5")).json(2)).to.deep.equal([
        { id: "7:5", sequence: 5, generation: 7, data: "5" },
        { id: "7:6", sequence: 6, generation: 7, data: "6" },
      ]);
      expect(await (await subscribe("prices?from=2")).json(1)).to.deep.equal([
        { gap: { missed: 2 } },
      ]);
      expect(counters.missed).to.equal(4);
    });

    it("should not know how many were missed when the publisher was started again", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree" });
      const there = await subscribe("prices");
      channel.publish(Buffer.from("before"));
      await there.json(1);
      channel.restartPublisher();
      channel.publish(Buffer.from("after"));
      const unknown = { gap: { missed: "unknown" } };
      expect(await there.json(2)).to.deep.equal([
        unknown,
        { id: "7:1,8:1", sequence: 1, generation: 8, data: "after" },
      ]);
      expect(await (await subscribe("prices?from=7:1")).json(1)).to.deep.equal([unknown]);
      expect(counters.missedUnknown).to.equal(2);
    });

    for (const from of ["x", "1:", "1:2,", "-1", `${"1:1,".repeat(64)}1:1`]) {
      it(`should refuse ?from=${from.slice(0, 20)}`, async function () {
        transport.add("default/prices", { kind: "lockfree" });
        const reply = await ask(`/v1/topics/prices?from=${from}`);
        expectProblem(reply, 400, "SHIMMY_ERR_INVALID_OPTION", "bad_request");
      });
    }

    it("should end with the channel", async function () {
      const channel = transport.add("default/prices", { kind: "lockfree" });
      const response = await open("/v1/topics/prices");
      channel.isEnded = true;
      channel.change();
      expect(await text(response)).to.equal('{"end":true}\n');
    });

    it("should let a client that does not read hold up nobody, and keep nothing for it", async function () {
      const channel = transport.add("default/prices", {
        kind: "lockfree",
        slots: 16,
        maxBytes: 1e6,
      });
      const stuck = connect(port, "127.0.0.1");
      sockets.push(stuck);
      stuck.pause();
      stuck.write("GET /v1/topics/prices HTTP/1.1\r\nHost: localhost\r\n\r\n");
      const quick = await subscribe("prices");
      await eventually("both", () => channel.readers.size === 2);
      const before = keptBytes();
      for (let i = 0; i < 150; i++) {
        channel.publish(Buffer.alloc(100_000, "x"));
        await quick.take(1);
      }
      expect(keptBytes() - before).to.be.below(30e6);
      expect(counters.missed).to.equal(0);
      stuck.resume();
      await eventually("the slow one to learn what it missed", () => counters.missed > 50);
    });

    it("should refuse types that it has not", async function () {
      transport.add("default/prices", { kind: "lockfree" });
      const reply = await ask("/v1/topics/prices", { headers: { accept: "text/html" } });
      expectProblem(reply, 406, "SHIMMY_ERR_INVALID_OPTION", "not_acceptable");
    });
  });

  describe("GET of a lock-based topic", function () {
    it("should give each message to exactly one client, by turns", async function () {
      const channel = transport.add("default/jobs", { kind: "lock", slots: 100 });
      const [one, two] = await Promise.all([subscribe("jobs"), subscribe("jobs")]);
      expect(channel.attached).to.equal(1);
      for (let i = 0; i < 40; i++) channel.publish(Buffer.from(String(i)));
      await eventually("all to be delivered", () => counters.delivered === 40);
      const seen = [...(await one.json(20)), ...(await two.json(20))].map(({ data }) =>
        Number(data),
      );
      expect(seen.toSorted((a, b) => a - b)).to.deep.equal(Array.from({ length: 40 }, (_, i) => i));
      expect(channel.entries).to.deep.equal([]);
    });

    it("should give what a client did not acknowledge to the next one", async function () {
      const channel = transport.add("default/jobs", { kind: "lock" });
      channel.publish(Buffer.from("first"));
      channel.publish(Buffer.from("second"));
      const socket = await socketTo("jobs?ack=true");
      await eventually("the first to be out", () => channel.entries.length === 1);
      const next = await subscribe("jobs?max=2");
      expect(await next.json(1)).to.have.nested.property("[0].data", "second");
      socket.terminate();
      expect(await next.json(1)).to.have.nested.property("[0].data", "first");
      expect(counters.redelivered).to.equal(1);
      expect(channel.entries).to.deep.equal([]);
    });

    it("should wait when as many messages are out as may be, and go on then", async function () {
      const channel = transport.add("default/jobs", { kind: "lock", maxOut: 3 });
      const stuck = await socketTo("jobs?ack=true");
      channel.publish(Buffer.from("0"));
      await eventually("it to be out", () => channel.entries.length === 0);
      const quick = await subscribe("jobs");
      for (let i = 1; i <= 5; i++) channel.publish(Buffer.from(String(i)));
      expect((await quick.json(2)).map(({ data }) => data)).to.deep.equal(["1", "2"]);
      await delay(30);
      expect(channel.entries).to.have.length(3);
      stuck.send("ack");
      await eventually("all to be out", () => channel.entries.length === 0);
    });

    it("should wait for the acknowledgement of each message", async function () {
      const channel = transport.add("default/jobs", { kind: "lock" });
      const socket = await socketTo("jobs?ack=true", ["shimmy.json"]);
      const frames: string[] = [];
      socket.on("message", (data: Buffer) => frames.push(data.toString()));
      channel.publish(Buffer.from("1"));
      channel.publish(Buffer.from("2"));
      await eventually("the first", () => frames.length === 1);
      await delay(30);
      expect(frames).to.have.length(1);
      expect(counters.delivered).to.equal(0);
      socket.send("ack");
      await eventually("the second", () => frames.length === 2);
      socket.send("ack");
      await eventually("both to count", () => counters.delivered === 2);
    });

    it("should give the consumer's role up with the last client", async function () {
      const channel = transport.add("default/jobs", { kind: "lock" });
      const lines = await subscribe("jobs");
      lines.response.destroy();
      await eventually("it to be given up", () => channel.readers.size === 0);
      channel.publish(Buffer.from("later"));
      expect(await (await subscribe("jobs")).json(1)).to.have.nested.property("[0].data", "later");
      expect(channel.attached).to.equal(2);
    });

    it("should refuse a place to begin, but not the id that EventSource sends by itself", async function () {
      const channel = transport.add("default/jobs", { kind: "lock" });
      expect((await ask("/v1/topics/jobs?from=oldest")).status).to.equal(400);
      channel.publish(Buffer.from("x"));
      await (await subscribe("jobs", { "last-event-id": "1:2" })).json(1);
    });

    it("should refuse acknowledgements where there are none", async function () {
      transport.add("default/jobs", { kind: "lock" });
      expect((await ask("/v1/topics/jobs?ack=true")).status).to.equal(400);
    });
  });

  describe("CloudEvents", function () {
    const CE = {
      "content-type": "application/json",
      "ce-specversion": "1.0",
      "ce-id": "42",
      "ce-source": "/shop",
      "ce-type": "order.made",
      "ce-myext": "%C3%BC 100%",
    };

    it("should keep the headers of an event from one end to the other", async function () {
      transport.add("default/orders", { kind: "lockfree" });
      const lines = await subscribe("orders?format=cloudevents");
      expect((await post("orders", '{"big":12345678901234567890,\n"a":[1]}', CE)).status).to.equal(
        202,
      );
      const [line] = await lines.take(1);
      expect(line).to.include('"big":12345678901234567890');
      expect(JSON.parse(line ?? ""))
        .to.have.property("event")
        .that.deep.includes({
          specversion: "1.0",
          id: "42",
          source: "/shop",
          type: "order.made",
          myext: "ü 100%",
          datacontenttype: "application/json",
        });
    });

    it("should keep data of every kind", async function () {
      const channel = transport.add("default/orders", { kind: "lockfree" });
      await post("orders", Buffer.from([255, 0]), { ...CE, "content-type": "image/png" });
      await post("orders", "<a/>", { ...CE, "content-type": "text/xml; charset=utf-8" });
      await post("orders", "", CE);
      const structured = '{"specversion":"1.0","id":"1","source":"s","type":"t","data":1.10}';
      await post("orders", structured, { "content-type": "application/cloudevents+json" });
      const messages = channel.entries.map(({ data }) => data.toString());
      expect(messages.slice(0, 3).map((each) => JSON.parse(each) as object)).to.have.lengthOf(3);
      expect(JSON.parse(messages[0] ?? "")).to.include({
        data_base64: "/wA=",
        datacontenttype: "image/png",
      });
      expect(JSON.parse(messages[1] ?? "")).to.include({ data: "<a/>" });
      expect(JSON.parse(messages[2] ?? "")).not.to.have.any.keys("data", "data_base64");
      expect(messages[3]).to.equal(structured);
    });

    it("should not take bytes for an event unless it is asked to", async function () {
      const channel = transport.add("default/orders", { kind: "lockfree" });
      const [raw, events] = [
        await subscribe("orders"),
        await subscribe("orders?format=cloudevents"),
      ];
      const forged = '{"specversion":"1.0","id":"1","source":"s","type":"t"}';
      channel.publish(Buffer.from(forged));
      channel.publish(Buffer.from("{}"));
      expect((await raw.json(1))[0]).to.have.property("data", forged);
      const [event, other] = await events.json(2);
      expect(event).to.have.property("event");
      expect(other).to.have.property("data", "{}");
    });

    const invalid: Record<string, [Record<string, string | undefined>, string]> = {
      "a required header left out": [{ "ce-id": undefined }, "{}"],
      "another version": [{ "ce-specversion": "0.3" }, "{}"],
      "an attribute that would be the data": [{ "ce-data": "x" }, "{}"],
      "an attribute of another form": [{ "ce-a-b": "x" }, "{}"],
      "data that is not JSON": [{}, "{"],
      "data that would add attributes": [{}, '1,"id":"other"'],
    };
    for (const [what, [headers, body]] of Object.entries(invalid)) {
      it(`should refuse ${what}`, async function () {
        const channel = transport.add("default/orders", { kind: "lockfree" });
        const given = Object.entries<string | undefined>({ ...CE, ...headers }).filter(
          ([, value]) => value !== undefined,
        );
        const reply = await post("orders", body, Object.fromEntries(given));
        expectProblem(reply, 400, "SHIMMY_ERR_INVALID_OPTION", "bad_request");
        expect(channel.entries).to.deep.equal([]);
      });
    }

    it("should refuse structured events that are none, and batches", async function () {
      transport.add("default/orders", { kind: "lockfree" });
      const send = (type: string): Promise<Reply> => post("orders", "[]", { "content-type": type });
      expect((await send("application/cloudevents+json")).status).to.equal(400);
      expect((await send("application/cloudevents-batch+json")).status).to.equal(400);
    });
  });

  describe("#drain()", function () {
    it("should end subscribers, finish who publishes, and refuse what comes after", async function () {
      const channel = transport.add("default/jobs", { kind: "lock", slots: 1 });
      transport.add("default/prices", { kind: "lockfree" });
      await post("jobs", "1");
      const waits = post("jobs?timeout=5s", "2");
      const response = await open("/v1/topics/prices");
      const socket = await socketTo("prices");
      const closed = once(socket, "close") as Promise<[number]>;
      await delay(30);
      const drained = server.drain(5000);
      expect(await text(response)).to.equal("");
      expect((await closed)[0]).to.equal(1001);
      channel.entries.length = 0;
      channel.change();
      expect((await waits).status).to.equal(202);
      await drained;
    });

    it("should cut off who takes too long", async function () {
      transport.add("default/jobs", { kind: "lock", slots: 1 });
      await post("jobs", "1");
      const waits = post("jobs?timeout=20s", "2").catch(() => "cut off");
      await delay(30);
      await server.drain(30);
      expect(await Promise.race([waits, delay(1000, "still there")])).to.not.equal("still there");
    });
  });
});
