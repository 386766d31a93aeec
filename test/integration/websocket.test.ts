import { expect } from "chai";
import { once } from "node:events";
import { WebSocket, WebSocketServer, type RawData } from "ws";

import { startAppMesh, type AppMesh } from "../helpers/apps.ts";
import { noise } from "../helpers/noise.ts";

const SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_000_000, 5_000_000];
const CLIENTS = 50;

describe("WebSocket over shared memory", function () {
  let apps: AppMesh;
  let server: WebSocketServer;

  before(async function () {
    this.timeout(30_000);
    apps = await startAppMesh({ ws: 8080 });
    const { address: host, port } = apps.server("ws");
    server = new WebSocketServer({ host, port });
    server.on("connection", (socket) => {
      socket.on("message", (data, isBinary) => {
        socket.send(data, { binary: isBinary });
      });
    });
    await once(server, "listening");
  });

  beforeEach(async function () {
    await apps.mesh.carried("client");
  });

  after(async function () {
    for (const socket of server.clients) socket.terminate();
    server.close();
    await apps.mesh.close();
  });

  it("should echo messages of every frame size, in order", async function () {
    this.timeout(10_000);
    const socket = await open();
    const messages = SIZES.map((bytes) => Buffer.concat([...noise(`ws ${bytes}`, bytes)]));
    const received: Buffer[] = [];
    const all = new Promise<void>((resolve) => {
      socket.on("message", (data: RawData) => {
        received.push(data as Buffer);
        if (received.length === messages.length) resolve();
      });
    });
    for (const message of messages) socket.send(message);
    await all;
    expect(received.every((data, index) => data.equals(messages[index] as Buffer))).to.be.true;
    socket.close(1000, "done");
    const [code] = (await once(socket, "close")) as [number];
    expect(code).to.equal(1000);
    await apps.mesh.assertCarried("client", 1);
  });

  it("should broadcast to many clients", async function () {
    this.timeout(10_000);
    const sockets = await Promise.all(Array.from({ length: CLIENTS }, open));
    const heard = sockets.map((socket) => once(socket, "message"));
    for (const socket of server.clients) socket.send("to all");
    const messages = (await Promise.all(heard)) as [RawData, boolean][];
    expect(messages.every(([data]) => (data as Buffer).toString() === "to all")).to.be.true;
    for (const socket of sockets) socket.close();
    await Promise.all(sockets.map((socket) => once(socket, "close")));
    await apps.mesh.assertCarried("client", CLIENTS);
  });

  it("should show the server a client that is cut off", async function () {
    const connected = once(server, "connection") as Promise<[WebSocket]>;
    const socket = await open();
    const [served] = await connected;
    const ended = once(served, "close") as Promise<[number]>;
    socket.terminate();
    expect((await ended)[0]).to.equal(1006); // RFC 6455, 7.1.5: closed without a close frame
    await apps.mesh.assertCarried("client", 1);
  });

  async function open(): Promise<WebSocket> {
    const { address, port } = apps.local("ws");
    const socket = new WebSocket(`ws://${address}:${port}/`);
    await once(socket, "open");
    return socket;
  }
});
