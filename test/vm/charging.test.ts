// Who pays for shared memory, as a kernel with cgroups of version 2 counts it. Runs in a virtual
// machine (test/vm/lab).
import { expect } from "chai";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { eventually } from "../helpers/eventually.ts";
import { NodePods, type NodePod } from "../helpers/node-pods.ts";
import { SLOWNESS } from "../helpers/slowness.ts";

const CONNECTIONS = 40;
/** The first ring of a stream and its control page: docs/architecture.md. */
const HALF_BYTES = 20_480;
const BUDGET_BYTES = 2 * 1024 * 1024;
const PAGE = "alive";
const LARGE_BYTES = 32 * 1024 * 1024;

describe("memory of rings with cgroups of version 2", function () {
  this.timeout(30_000 * SLOWNESS);
  let node: NodePods;
  let client: NodePod;
  let server: NodePod;
  let payer: Readonly<Record<"client" | "server", string>>;

  /** Shared memory that a cgroup is charged, in bytes. */
  function charged(side: keyof typeof payer): number {
    const text = readFileSync(join(payer[side], "memory.stat"), "utf8");
    return Number(/^shmem (\d+)$/m.exec(text)?.[1]);
  }

  function outOfMemoryKills(side: keyof typeof payer): number {
    const text = readFileSync(join(payer[side], "memory.events"), "utf8");
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1]);
  }

  async function outbound(transport: "shm" | "tcp"): Promise<number> {
    const metrics = await node.metrics(client);
    return metrics.sum("shimmy_connections_total", { direction: "outbound", transport });
  }

  async function openRings(pod: NodePod): Promise<number> {
    return (await node.metrics(pod)).sum("shimmy_ring_bytes", { owner: "own" });
  }

  /** Opens connections to nginx through the client's sidecar, until what it gives is called. */
  async function open(count: number): Promise<() => Promise<void>> {
    const before = (await outbound("shm")) + (await outbound("tcp"));
    const script = `for i in $(seq ${count}); do exec {fd}<>/dev/tcp/127.0.0.1/9001; done; exec sleep 1000`;
    const holder = node.startIn(client, "holder", ["bash", "-c", script]);
    await eventually("connections to be open", async () => {
      return (await outbound("shm")) + (await outbound("tcp")) === before + count;
    });
    return async () => {
      holder.signal("SIGKILL");
      await holder.ended;
      await eventually("rings to be gone", async () => {
        return (await openRings(client)) + (await openRings(server)) === 0;
      });
    };
  }

  /** Calls nginx through the client's sidecar. */
  async function call(): Promise<string> {
    return (await node.in(client, ["curl", "-sf", "http://127.0.0.1:9001/"])).stdout;
  }

  function sidecarOf(pod: NodePod): void {
    const env = { SHIMMY_RING_BUDGET: String(BUDGET_BYTES) };
    if (pod === client) node.startSidecar(pod, "nginx:9001", { env, cgroup: payer.client });
    else node.startSidecar(pod, "", { env, cgroup: payer.server });
  }

  before(async function () {
    node = new NodePods();
    await node.start();
    client = node.list("client", { ports: [] });
    server = node.list("server", { ports: [8080] });
    node.listService({ name: "nginx", ports: [{ port: 8080 }], pods: ["server"] });
    await Promise.all([node.run(client), node.run(server)]);
    const folder = node.workspace.path("nginx");
    mkdirSync(folder);
    writeFileSync(join(folder, "index.html"), PAGE);
    writeFileSync(join(folder, "large"), Buffer.alloc(LARGE_BYTES));
    const listen = `listen ${server.address}:8080; root ${folder}; access_log off;`;
    const config = `daemon off; pid ${folder}/pid; error_log stderr; user root;
      events {} http { server { ${listen} } }`;
    writeFileSync(join(folder, "conf"), config);
    node.startIn(server, "nginx", ["nginx", "-c", join(folder, "conf"), "-e", "stderr"]);
    payer = {
      client: node.makeContainer(client, "sidecar"),
      server: node.makeContainer(server, "sidecar"),
    };
    sidecarOf(client);
    sidecarOf(server);
    await Promise.all([node.connected(client), node.connected(server)]);
    const first = await open(1); // the session, and what a process makes once
    await first();
  });

  afterEach(function () {
    if (this.currentTest?.state === "failed") console.log(node.logs);
  });

  after(async function () {
    await node.close();
  });

  it("should be looked at where containers see no cgroup but their own", async function () {
    const { stdout } = await node.in(client, ["cat", "/proc/self/cgroup"]);
    expect(stdout.trim()).to.equal("0::/");
  });

  it("should be charged to the sidecar that writes them, on each side its own", async function () {
    const before = { client: charged("client"), server: charged("server") };
    const shm = await outbound("shm");
    const close = await open(CONNECTIONS);
    expect(await outbound("shm")).to.equal(shm + CONNECTIONS);
    for (const side of ["client", "server"] as const) {
      const perStream = (charged(side) - before[side]) / CONNECTIONS;
      expect(perStream, side).to.be.within(HALF_BYTES, HALF_BYTES * 1.2);
    }
    await close();
    for (const side of ["client", "server"] as const) {
      expect(charged(side) - before[side], side).to.be.below(HALF_BYTES * 2);
    }
  });

  it("should be charged to the server as its rings grow, and not to who reads them", async function () {
    const before = { client: charged("client"), server: charged("server") };
    const url = "http://127.0.0.1:9001/large";
    const reader = node.startIn(client, "reader", [
      ...["curl", "-sf", "--limit-rate", "200k", "-o", "/dev/null", url],
    ]);
    await eventually("the ring to grow", () => charged("server") - before.server > 4 * HALF_BYTES);
    expect(charged("client") - before.client).to.be.below(2 * HALF_BYTES);
    reader.signal("SIGKILL");
    await reader.ended;
    await eventually("the ring to be gone", () => charged("server") - before.server < HALF_BYTES);
  });

  it("should stay within their budget: what is beyond it goes over TCP, and nobody is killed", async function () {
    const most = Math.floor(BUDGET_BYTES / HALF_BYTES);
    const before = charged("client");
    // Room for the budget and for what each connection costs besides.
    const limit = readFileSync(join(payer.client, "memory.current"), "utf8");
    const memory = Number(limit) + BUDGET_BYTES + 16 * 1024 * 1024;
    writeFileSync(join(payer.client, "memory.max"), String(memory));
    const tcp = await outbound("tcp");
    const close = await open(most + CONNECTIONS);
    expect((await outbound("tcp")) - tcp).to.be.within(CONNECTIONS, CONNECTIONS * 2);
    const quota = (await node.metrics(client)).sum("shimmy_fallbacks_total", { reason: "quota" });
    expect(quota).to.equal((await outbound("tcp")) - tcp);
    expect(charged("client") - before).to.be.at.most(BUDGET_BYTES);
    expect([outOfMemoryKills("client"), outOfMemoryKills("server")]).to.deep.equal([0, 0]);
    await close();
  });

  it("should be let go of when its writer is out of memory, and the other sidecar goes on", async function () {
    const before = charged("client");
    const killed = { client: outOfMemoryKills("client"), server: outOfMemoryKills("server") };
    await open(CONNECTIONS);
    const tcp = await outbound("tcp");
    writeFileSync(join(payer.server, "memory.max"), String(BUDGET_BYTES));
    await node.process("sidecar of server").ended;
    expect(outOfMemoryKills("server")).to.be.above(killed.server);
    expect(outOfMemoryKills("client")).to.equal(killed.client);
    await eventually("rings to be gone", async () => (await openRings(client)) === 0);
    expect(charged("client") - before).to.be.below(HALF_BYTES * 2);
    // What the dead one wrote is freed as well, though its reader lives.
    expect(charged("server")).to.be.below(HALF_BYTES * 2);
    expect(await call()).to.equal(PAGE);
    expect(await outbound("tcp")).to.equal(tcp + 1);

    writeFileSync(join(payer.server, "memory.max"), "max");
    sidecarOf(server);
    await node.connected(server);
    const shm = await outbound("shm");
    await eventually("shared memory to be used again", async () => {
      return (await call()) === PAGE && (await outbound("shm")) > shm;
    });
  });
});
