import { expect } from "chai";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { startAppMesh, type AppMesh, type Place } from "../helpers/apps.ts";
import { runProgram, type ProgramResult } from "../helpers/run-program.ts";

/** Exit codes of curl (its manual page): could not connect, an empty answer, a reset. */
const REFUSED = [7, 52, 56];

describe("what a sidecar lets peers reach", function () {
  let apps: AppMesh;
  const servers: Server[] = [];
  const seenOnLoopback: (string | undefined)[] = [];

  before(async function () {
    this.timeout(30_000);
    const loopback = await serve({ address: "127.0.0.1", port: 0 }, seenOnLoopback);
    apps = await startAppMesh({ open: 8080, loopback, nobody: 8082 });
  });

  after(async function () {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
    await apps.mesh.close();
  });

  it("should be what listens on the address of the pod, which sees that address", async function () {
    const seen: (string | undefined)[] = [];
    const at = apps.server("open");
    await serve(at, seen);
    await apps.mesh.carried("client");
    const { code, stdout } = await curl("open");
    expect([code, stdout]).to.deep.equal([0, "reached"]);
    expect(seen).to.deep.equal([at.address]);
    await apps.mesh.assertCarried("client", 1);
  });

  it("should not be what listens on loopback only", async function () {
    const { code, stdout } = await curl("loopback");
    expect(stdout).to.equal("");
    expect(REFUSED).to.include(code);
    expect(seenOnLoopback).to.deep.equal([]);
  });

  it("should show that nobody listens as a connection that ends", async function () {
    const { code } = await curl("nobody");
    expect(REFUSED).to.include(code);
  });

  function curl(service: string): Promise<ProgramResult> {
    const { address, port } = apps.local(service);
    return runProgram(["curl", "-sS", "--max-time", "5", `http://${address}:${port}/`]);
  }

  async function serve({ address, port }: Place, seen: (string | undefined)[]): Promise<number> {
    const server = createServer((request, response) => {
      seen.push(request.socket.remoteAddress);
      response.end("reached");
    });
    servers.push(server);
    server.listen(port, address);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  }
});
