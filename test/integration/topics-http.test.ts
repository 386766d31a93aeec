/**
 * Topics over HTTP as people use them: a real agent, sidecars as processes of their own, curl,
 * WebSocket, SDKs at the other end. That messages went through channels is read from the sidecars'
 * metrics and from the SDK's counters.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { buffer } from "node:stream/consumers";

import { expect } from "chai";
import { WebSocket } from "ws";

import { parsePrometheus, sumSamples } from "../../cli/prometheus.ts";
import { ShimmyClient } from "../../sdk/typescript/index.ts";
import { AgentProcess } from "../helpers/agent-process.ts";
import { eventually } from "../helpers/eventually.ts";
import { runProgram } from "../helpers/run-program.ts";

const CATALOG = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
  - { name: x, namespace: other, address: 127.0.1.3 }
topics:
  - { name: jobs, kind: lock, blocks: 16, blockBytes: 4096 }
  - { name: prices, kind: lockfree, blocks: 64, blockBytes: 1024, timeToLiveMs: 2000 }
  - { name: secret, kind: lock, publishers: [b], subscribers: [b] }
`;
const MAIN = join(import.meta.dirname, "../../cli/main.ts");
const BYTES = ["-H", "content-type: application/octet-stream"];

/** A sidecar of one pod in a process of its own. */
class SidecarProcess {
  readonly #child: ChildProcess;
  readonly #log: Record<string, unknown>[] = [];
  topics = "";
  admin = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(
    agent: AgentProcess,
    pod: string,
    env: Record<string, string> = {},
  ): Promise<SidecarProcess> {
    const [namespace = "", name = ""] = pod.split("/");
    const child = spawn(process.execPath, [MAIN, "sidecar"], {
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        PATH: process.env["PATH"],
        SHIMMY_POD: pod,
        SHIMMY_AGENT_DIR: join(agent.runtimeDir, "pods", namespace, name),
        SHIMMY_ADMIN_ADDRESS: "127.0.0.1:0",
        SHIMMY_TOPICS_ADDRESSES: "127.0.0.1:0",
        SHIMMY_DRAIN_TIMEOUT: "2s",
        ...env,
      },
    });
    const sidecar = new SidecarProcess(child);
    createInterface({ input: child.stdout }).on("line", (line) => {
      sidecar.#log.push(JSON.parse(line) as Record<string, unknown>);
    });
    const started = await eventually("the sidecar to start", () =>
      sidecar.#log.find(({ msg }) => msg === "sidecar started"),
    );
    sidecar.admin = `http://${String(started["admin"])}`;
    sidecar.topics = `http://${String((started["topics"] as string[])[0])}/v1/topics`;
    return sidecar;
  }

  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const text = await (await fetch(`${this.admin}/metrics`)).text();
    return sumSamples(parsePrometheus(text), name, labels);
  }

  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGKILL"): Promise<number | null> {
    const child = this.#child;
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, "exit");
    }
    return child.exitCode;
  }
}

/** curl, which gives up after 10 s. */
async function curl(...words: string[]): Promise<{ status: number; body: string }> {
  const { stdout } = await runProgram([
    ...["curl", "--silent", "--no-buffer", "--max-time", "10"],
    ...["--write-out", "\n%{http_code}", ...words],
  ]);
  const at = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) };
}

describe("topics over HTTP", function () {
  this.timeout(30_000);
  let agent: AgentProcess;
  let a: SidecarProcess;
  let b: SidecarProcess;
  let others: SidecarProcess[];
  let client: ShimmyClient;
  let application: Server | undefined;

  beforeEach(async function () {
    others = [];
    application = undefined;
    agent = new AgentProcess(CATALOG);
    await agent.start();
    [a, b] = await Promise.all([
      SidecarProcess.start(agent, "default/a"),
      SidecarProcess.start(agent, "default/b"),
    ]);
    client = await ShimmyClient.connect({ socket: join(agent.podDirectory("b"), "fd.sock") });
  });

  afterEach(async function () {
    await client.close();
    await Promise.all([a, b, ...others].map((sidecar) => sidecar.stop()));
    application?.closeAllConnections();
    application?.close();
    await agent.close();
  });

  async function subscribers(sidecar: SidecarProcess, count: number): Promise<void> {
    await eventually(`${count} subscribers`, async () => {
      return (await sidecar.metric("shimmy_topic_subscribers")) === count;
    });
  }

  it("should carry what curl posts to curl, between two pods", async function () {
    const reading = curl("-N", `${b.topics}/prices?max=3`);
    await subscribers(b, 1);
    for (const body of ["one", "two", "three"]) {
      expect(await curl(...BYTES, "-d", body, `${a.topics}/prices`)).to.deep.equal({
        status: 202,
        body: '{"topic":"default/prices"}\n',
      });
    }
    const lines = (await reading).body.trim().split("\n");
    const messages = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(messages.map(({ data }) => data)).to.deep.equal(["one", "two", "three"]);
    const [first = 0, second, third] = messages.map(({ sequence }) => sequence as number);
    expect([second, third]).to.deep.equal([first + 1, first + 2]);
    expect(await a.metric("shimmy_topic_messages_total", { direction: "published" })).to.equal(3);
    expect(await b.metric("shimmy_topic_messages_total", { direction: "delivered" })).to.equal(3);
    expect(await b.metric("shimmy_topic_bytes_total", { direction: "delivered" })).to.equal(11);
  });

  it("should meet programs with an SDK, byte for byte", async function () {
    const consumer = await client.consumer("jobs");
    const bytes = Buffer.from(Array.from({ length: 20_000 }, (_, i) => i % 256));
    const post = await fetch(`${a.topics}/jobs`, {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: bytes,
    });
    expect(post.status).to.equal(202);
    expect((await consumer.take())?.data.equals(bytes)).to.equal(true);
    expect(consumer.counters()).to.include({ messages: 1, bytes: bytes.length });
    consumer.close();

    const producer = await client.producer("jobs");
    const reading = curl("-N", `${a.topics}/jobs?max=1`);
    await subscribers(a, 1);
    // The producer of the request before gives its role up when it was idle for a while.
    await producer.publish(Buffer.from("from the SDK"), { timeoutMs: 15_000 });
    expect((await reading).body).to.include('"data":"from the SDK"');
  });

  it("should resume behind the last event, or say what was missed", async function () {
    const publisher = await client.publisher("prices");
    const reading = curl("-N", "-H", "accept: text/event-stream", `${a.topics}/prices?max=1`);
    await subscribers(a, 1);
    for (let i = 0; i < 10; i++) await publisher.publish(Buffer.from(String(i)));
    const id = /^id: (.+)$/m.exec((await reading).body)?.[1] ?? "";
    const resume = (max: number): ReturnType<typeof curl> =>
      curl("-N", "-H", `last-event-id: ${id}`, `${a.topics}/prices?max=${max}`);
    const resumed = (await resume(9)).body.trim().split("\n");
    expect(resumed.map((line) => (JSON.parse(line) as { data: string }).data)).to.deep.equal(
      Array.from({ length: 9 }, (_, i) => String(i + 1)),
    );
    // All of them expire, and more are written than there are blocks.
    await new Promise((resolve) => setTimeout(resolve, 2100));
    for (let i = 0; i < 100; i++) await publisher.publish(Buffer.alloc(1000, "x"));
    const [gap, next] = (await resume(1)).body.trim().split("\n");
    const { missed } = (JSON.parse(gap ?? "") as { gap: { missed: number } }).gap;
    const { sequence } = JSON.parse(next ?? "") as { sequence: number };
    expect(missed).to.equal(sequence - Number(id.split(":")[1]) - 1);
    expect(missed).to.be.greaterThan(30);

    publisher.close();
    await new Promise((resolve) => setTimeout(resolve, 2100));
    const again = await client.publisher("prices");
    const unknown = resume(1);
    await subscribers(a, 1);
    await again.publish(Buffer.from("after a restart"));
    expect((await unknown).body).to.match(/^\{"gap":\{"missed":"unknown"\}\}\n.*after a restart/);
  });

  it("should give each job to one WebSocket, and those of a dead one to another", async function () {
    const producer = await client.producer("jobs");
    const seen: string[][] = [[], []];
    const sockets = seen.map((mine, index) => {
      const socket = new WebSocket(`${a.topics.replace("http", "ws")}/jobs?ack=true`);
      socket.on("message", (data: Buffer) => {
        mine.push(data.toString());
        // The second one takes its first job with it.
        if (index === 0) socket.send("ack");
      });
      return socket;
    });
    await subscribers(a, 2);
    // What is not acknowledged keeps its blocks, of which there are 16, and its place among 8 loans.
    const written = (async () => {
      for (let i = 0; i < 20; i++) await producer.publish(Buffer.from(String(i)));
    })();
    await eventually("the second to have one", () => seen[1]?.length === 1);
    sockets[1]?.terminate();
    await eventually("the first to have all", () => seen[0]?.length === 20);
    await written;
    const numbers = (seen[0] ?? []).map(Number).toSorted((x, y) => x - y);
    expect(numbers).to.deep.equal(Array.from({ length: 20 }, (_, i) => i));
    expect(await a.metric("shimmy_topic_redelivered_total")).to.equal(1);
    await producer.drain({ timeoutMs: 5000 });
    sockets[0]?.terminate();
  });

  it("should give what was not acknowledged to another pod when the sidecar is killed", async function () {
    const producer = await client.producer("jobs");
    const socket = new WebSocket(`${a.topics.replace("http", "ws")}/jobs?ack=true`);
    socket.on("error", () => undefined);
    const had = once(socket, "message");
    await subscribers(a, 1);
    await producer.publish(Buffer.from("precious"));
    await had;
    await a.stop("SIGKILL");
    expect((await curl("-N", `${b.topics}/jobs?max=1`)).body).to.include('"data":"precious"');
  });

  it("should keep CloudEvents from end to end, readable by an SDK", async function () {
    const subscriber = await client.subscriber("prices");
    const reading = curl("-N", `${b.topics}/prices?max=1&format=cloudevents`);
    await subscribers(b, 1);
    const headers = ["specversion: 1.0", "id: 42", "source: /shop", "type: made"];
    const { status } = await curl(
      ...headers.flatMap((header) => ["-H", `ce-${header}`]),
      ...["-H", "content-type: application/json", "-d", '{"total":3}', `${a.topics}/prices`],
    );
    expect(status).to.equal(202);
    const expected = { id: "42", source: "/shop", type: "made", data: { total: 3 } };
    const line = JSON.parse((await reading).body) as { event: object };
    expect(line.event).to.deep.include(expected);
    expect(JSON.parse((await subscriber.take())?.data.toString() ?? "")).to.deep.include(expected);
  });

  it("should push jobs to the application until it takes them", async function () {
    const got: [string, string | undefined][] = [];
    const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      got.push([(await buffer(request)).toString(), request.headers["shimmy-topic"] as string]);
      // Neither a refusal nor a redirect is an acceptance.
      response.writeHead(got.length === 1 ? 500 : got.length === 2 ? 302 : 204, { location: "/" });
      response.end();
    };
    application = createServer((request, response) => void answer(request, response));
    application.listen(0, "127.0.0.1");
    await once(application, "listening");
    const { port } = application.address() as AddressInfo;
    const push = `jobs=http://localhost:${port}/jobs`;
    const sidecar = await SidecarProcess.start(agent, "default/a", { SHIMMY_TOPICS_PUSH: push });
    others.push(sidecar);
    await curl(...BYTES, "-d", "job", `${b.topics}/jobs`);
    await eventually("the job to be taken", async () => {
      return (
        (await sidecar.metric("shimmy_topic_messages_total", { direction: "delivered" })) === 1
      );
    });
    expect(got).to.deep.equal(Array.from({ length: 3 }, () => ["job", "default/jobs"]));
    expect(await sidecar.metric("shimmy_topic_push_failures_total")).to.equal(2);
  });

  it("should refuse pages, foreign names, roles that are not had, and topics that are not there", async function () {
    const refused = async (reason: string, ...words: string[]): Promise<void> => {
      const { status, body } = await curl(...words);
      expect(status).to.be.within(400, 499);
      expect(JSON.parse(body)).to.include({ reason });
    };
    await refused("content_type", "-d", "x", `${a.topics}/jobs`);
    await refused("content_type", "-H", "content-type: text/plain", "-d", "x", `${a.topics}/jobs`);
    await refused("host", ...BYTES, "-H", "host: evil.example", "-d", "x", `${a.topics}/jobs`);
    const page = ["-H", "origin: https://evil.example"];
    await refused("origin", ...BYTES, ...page, "-d", "x", `${a.topics}/jobs`);
    await refused("origin", ...page, `${a.topics}/jobs`);
    await refused("origin", "-H", "sec-fetch-site: cross-site", `${a.topics}/jobs`);
    await refused("no_role", ...BYTES, "-d", "x", `${a.topics}/secret`);
    await refused("no_role", `${a.topics}/secret`);
    await refused("other_namespace", ...BYTES, "-d", "x", `${a.topics}/other/thing`);
    await refused("unknown_topic", ...BYTES, "-d", "x", `${a.topics}/nothing`);
    expect((await curl(...BYTES, "-d", "x", `${a.topics}/nothing?create=lock`)).status).to.equal(
      202,
    );

    const foreign = await SidecarProcess.start(agent, "other/x");
    others.push(foreign);
    await refused("other_namespace", ...BYTES, "-d", "x", `${foreign.topics}/default/jobs`);

    const socket = new WebSocket(`${a.topics.replace("http", "ws")}/jobs`, {
      origin: "https://evil.example",
    });
    expect(String(((await once(socket, "error")) as [Error])[0])).to.include("403");
    const counted = (reason: string): Promise<number> =>
      a.metric("shimmy_topic_refused_total", { reason });
    expect(await counted("content_type")).to.equal(2);
    expect(await counted("host")).to.equal(1);
    expect(await counted("origin")).to.equal(4);
    expect(await counted("denied")).to.equal(3);
    expect(await counted("unknown_topic")).to.equal(1);
    expect(await a.metric("shimmy_topic_messages_total", { direction: "published" })).to.equal(1);
  });

  it("should say that a channel is full, and that a message is too big", async function () {
    const post = (bytes: number): Promise<Response> =>
      fetch(`${a.topics}/jobs?timeout=50ms`, {
        method: "POST",
        headers: { "content-type": "application/octet-stream" },
        body: Buffer.alloc(bytes),
      });
    expect((await post(65_536)).status).to.equal(202);
    const full = await post(4096);
    expect(full.status).to.equal(503);
    expect(full.headers.get("retry-after")).to.equal("1");
    expect(await full.json()).to.include({ code: "SHIMMY_ERR_TIMEOUT", reason: "full" });
    const tooBig = await post(65_537);
    expect(tooBig.status).to.equal(413);
    expect(await tooBig.json()).to.include({ code: "SHIMMY_ERR_MESSAGE_TOO_BIG" });
  });

  it("should go on while the agent is away, and say so where it is needed", async function () {
    await curl(...BYTES, "-d", "before", `${a.topics}/prices`);
    const reading = curl("-N", `${b.topics}/prices?max=1`);
    await subscribers(b, 1);
    await agent.stop("SIGKILL");
    expect((await curl(...BYTES, "-d", "without", `${a.topics}/prices`)).status).to.equal(202);
    expect((await reading).body).to.include('"data":"without"');
    const { status, body } = await curl(...BYTES, "-d", "x", `${a.topics}/jobs`);
    expect(status).to.equal(503);
    expect(JSON.parse(body)).to.include({ reason: "agent_away" });
    await agent.start();
    await eventually("it to be found again", async () => {
      return (await curl(...BYTES, "-d", "x", `${a.topics}/jobs`)).status === 202;
    });
  });

  it("should end subscribers in order when the sidecar is told to stop", async function () {
    const reading = curl("-N", `${a.topics}/prices`);
    const socket = new WebSocket(`${a.topics.replace("http", "ws")}/prices`);
    const closed = once(socket, "close") as Promise<[number]>;
    await subscribers(a, 2);
    expect(await a.stop("SIGTERM")).to.equal(0);
    expect(await reading).to.deep.equal({ status: 200, body: "" });
    expect((await closed)[0]).to.equal(1001);
  });
});
