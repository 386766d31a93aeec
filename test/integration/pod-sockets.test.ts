// The agent's sockets in pods, without a cluster: what the kernel enforces is the kernel's here too.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { eventually } from "../helpers/eventually.ts";
import { NodePods, type NodePod, type Surroundings } from "../helpers/node-pods.ts";
import { mustRun } from "../helpers/run-program.ts";
import { skipBecause } from "../helpers/skip.ts";
import { SLOWNESS } from "../helpers/slowness.ts";

const FIXTURES = join(import.meta.dirname, "../fixtures");
const CONNECT = join(FIXTURES, "connect-as-user.ts");
const SQUAT = join(FIXTURES, "squat-agent-socket.ts");
const VANISH = join(FIXTURES, "connect-and-vanish.ts");
const BOTH = ["@shimmy/api", "@shimmy/fd"];
const PAGE = "through shared memory";
/** Attempts to give a process the number of another: other programs of this machine take some. */
const REUSE_ATTEMPTS = 50;

interface Answer {
  readonly type?: string;
  readonly code?: string;
  readonly message?: string;
  readonly status?: number;
  readonly failed?: string;
  readonly body?: { readonly code?: string; readonly pod?: { readonly uid: string } };
}

describe("sockets in pods", function () {
  this.timeout(20_000 * SLOWNESS);
  let node: NodePods;
  let client: NodePod;
  let server: NodePod;

  /** What a process gets that says it is the pod named, on both sockets. */
  async function connect(
    surroundings: Surroundings,
    name: string,
  ): Promise<{ readonly fd: Answer; readonly api: Answer }> {
    const argv = [process.execPath, CONNECT, "@shimmy", name];
    const { stdout } = await node.within(surroundings, argv);
    return JSON.parse(stdout) as { fd: Answer; api: Answer };
  }

  async function refusedAs(surroundings: Surroundings, name: string, why: RegExp): Promise<void> {
    const { fd, api } = await connect(surroundings, name);
    expect(fd).to.include({ type: "error", code: "SHIMMY_ERR_NOT_ATTESTED" });
    expect(fd.message).to.match(why);
    expect(api.status).to.equal(403);
    expect(api.body?.code).to.equal("SHIMMY_ERR_NOT_ATTESTED");
  }

  async function failureOf({ uid }: NodePod): Promise<string | undefined> {
    const { failedPods } = await node.health();
    return failedPods.find(({ pod }) => pod === uid)?.error;
  }

  async function startNginx(): Promise<void> {
    const folder = node.workspace.path("nginx");
    mkdirSync(folder);
    writeFileSync(node.workspace.path("nginx", "index.html"), PAGE);
    const listen = `listen ${server.address}:8080; root ${folder};`;
    const config = `daemon off; pid ${folder}/pid; error_log stderr; user root;
      events {} http { access_log off; server { ${listen} } }`;
    writeFileSync(node.workspace.path("nginx", "conf"), config);
    node.startIn(server, "nginx", ["nginx", "-c", join(folder, "conf"), "-e", "stderr"]);
    const url = `http://${server.address}:8080/`;
    await eventually("nginx", () => node.in(server, ["curl", "-sf", url]).catch(() => undefined));
  }

  /** Calls nginx through the client's sidecar; asserts that it went through shared memory. */
  async function callThroughSharedMemory(): Promise<void> {
    const labels = { direction: "outbound" };
    const count = async (transport: string): Promise<number> =>
      (await node.metrics(client)).sum("shimmy_connections_total", { ...labels, transport });
    const before = { shm: await count("shm"), tcp: await count("tcp") };
    const { stdout } = await node.in(client, ["curl", "-sf", "http://127.0.0.1:9001/"]);
    expect(stdout).to.equal(PAGE);
    expect(await count("shm")).to.equal(before.shm + 1);
    expect(await count("tcp")).to.equal(before.tcp);
  }

  before(async function () {
    if (process.getuid?.() !== 0) skipBecause(this, "needs root to make namespaces and cgroups");
    node = new NodePods();
    await node.start();
    client = node.list("client", { ports: [] });
    server = node.list("server", { ports: [8080] });
    node.listService({ name: "nginx", ports: [{ port: 8080 }], pods: ["server"] });
    await Promise.all([node.run(client), node.run(server)]);
    await startNginx();
    node.startSidecar(client, "nginx:9001");
    node.startSidecar(server);
    await Promise.all([node.connected(client), node.connected(server)]);
  });

  after(async function () {
    await node.close();
  });

  it("should carry a connection from pod to pod through shared memory", async function () {
    await callThroughSharedMemory();
  });

  it("should be in the pods and not on the node", async function () {
    expect(await node.names(client)).to.deep.equal(BOTH);
    expect(await node.names(server)).to.deep.equal(BOTH);
    expect(await node.names()).to.deep.equal([]);
  });

  it("should be found within a second of the start of a pod, and given up with it", async function () {
    const late = node.list("late");
    await eventually("the catalog", async () => (await node.health()).catalog.pods >= 3);
    await node.run(late);
    const started = performance.now();
    await node.served(late);
    expect(performance.now() - started).to.be.below(1000 * SLOWNESS);
    await node.kill(late);
    const closed = async (): Promise<number> =>
      (await node.agentMetrics()).sum("shimmy_agent_pod_sockets_total", { result: "closed" });
    await eventually("sockets to be closed", async () => (await closed()) === 1);
    // As the kubelet does when it makes a sandbox again: the same pod in another namespace.
    await node.run(late);
    await node.served(late);
  });

  describe("attestation", function () {
    it("should know a process of the pod", async function () {
      const { fd, api } = await connect({ network: server, cgroups: [server.cgroup] }, "none");
      expect(fd.message).to.match(/hello from pod default\/none on the socket of default\/server/);
      expect(api.body?.pod?.uid).to.equal(server.uid);
    });

    it("should refuse a hello that names another pod", async function () {
      const { fd } = await connect({ network: client, cgroups: [client.cgroup] }, "server");
      expect(fd).to.include({ type: "error", code: "SHIMMY_ERR_NOT_ATTESTED" });
    });

    it("should refuse a process of another pod in the pod's network", async function () {
      const surroundings = { network: server, cgroups: [client.cgroup] };
      await refusedAs(surroundings, "server", new RegExp(`is of pod ${client.uid}`));
    });

    it("should refuse a process of the node in the pod's network", async function () {
      await refusedAs({ network: server }, "server", /is of no pod/);
    });

    it("should refuse a process in a cgroup named like another pod's", async function () {
      const forged = node.makeCgroup(
        join(client.cgroup, "kubepods/burstable", `pod${server.uid}`, "x"),
      );
      const why = new RegExp(`${server.uid}.* is below pod ${client.uid}`);
      for (const network of [client, server]) {
        await refusedAs({ network, cgroups: [forged] }, network.name, why);
      }
    });

    it("should reach no socket of another pod, nor any from the node", async function () {
      const { fd, api } = await connect({ cgroups: [server.cgroup] }, "server");
      expect([fd.failed, api.failed]).to.deep.equal(["ECONNREFUSED", "ECONNREFUSED"]);
    });

    it("should refuse a process that has the number of the one that connected", async function () {
      const agent = node.process("agent");
      for (let attempt = 0; attempt < REUSE_ATTEMPTS; attempt++) {
        agent.signal("SIGSTOP");
        // A process of the client's pod connects in the server's network, and ends; the connection
        // goes on in a child of it. Then a process of the server gets its number.
        const argv = node.enter({ network: server, cgroups: [client.cgroup] }, [
          ...[process.execPath, VANISH],
        ]);
        const [command = "", ...args] = argv;
        const first = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
        const answer = text(first.stdout);
        await once(first, "exit");
        const second = startWithNumber(first.pid ?? 0, server.cgroup);
        agent.signal("SIGCONT");
        const status = await answer;
        expect(status).to.equal("HTTP/1.1 403 Forbidden\n");
        if (await second) return;
      }
      throw new Error(`no number was given again in ${REUSE_ATTEMPTS} attempts`);
    });
  });

  describe("what has no place for sockets", function () {
    it("should be a pod in the node's network, which is not entered", async function () {
      const host = node.prepare("host");
      const keeper = spawn("sh", [
        ...["-c", 'echo $$ > "$0/cgroup.procs" && exec sleep 1000', host.cgroup],
      ]);
      try {
        node.list("host");
        const failure = await eventually("the helper to refuse", () => failureOf(host));
        expect(failure).to.match(/it is in a network namespace of the node$/);
        expect(await node.names()).to.deep.equal([]);
        expect((await node.health()).status).to.equal("degraded");
      } finally {
        keeper.kill("SIGKILL");
        await once(keeper, "exit");
      }
    });

    it("should be a pod with a squatter, until that is gone", async function () {
      const squatted = node.prepare("squatted");
      await node.run(squatted);
      node.startIn(squatted, "squatter", [process.execPath, SQUAT]);
      await eventually("the squatter", async () => (await node.names(squatted)).length === 1);
      node.list("squatted");
      const failure = await eventually("the agent to notice", () => failureOf(squatted));
      expect(failure).to.match(/a process in pod .* listens on @shimmy\/api or @shimmy\/fd/);
      const result = "SHIMMY_ERR_SOCKET_SQUATTED";
      const metrics = await node.agentMetrics();
      expect(metrics.sum("shimmy_agent_pod_sockets_total", { result })).to.be.at.least(1);
      expect(metrics.sum("shimmy_agent_failed_pods")).to.be.at.least(1);

      node.startSidecar(squatted);
      const seen = await eventually("its sidecar to notice", async () => {
        return (await node.status(squatted))?.agent.error;
      });
      expect(seen).to.match(/process \d+ of this container listens on @shimmy\/fd/);

      node.process("squatter").signal("SIGKILL");
      await node.connected(squatted);
      expect(await failureOf(squatted)).to.equal(undefined);
    });
  });

  describe("restarts", function () {
    it("should be outlived by streams, of the helper and of the agent", async function () {
      for (const name of ["helper", "agent"]) {
        node.process(name).signal("SIGKILL");
        await node.process(name).ended;
      }
      await callThroughSharedMemory();
      await node.startAgent();
      const failure = await eventually("the agent to miss its helper", () => failureOf(client));
      expect(failure).to.match(/helper\.sock/);
      node.startHelper();
      await Promise.all([node.connected(client), node.connected(server)]);
      await callThroughSharedMemory();
    });
  });
});

/**
 * Starts a process in a cgroup, and tries to have it get a number that is free.
 *
 * @returns Whether it got it; settles when the process has ended.
 */
async function startWithNumber(pid: number, cgroup: string): Promise<boolean> {
  // The next process gets the number after the last one, here and in no other PID namespace.
  const script =
    "echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; sleep 0.5 & echo $! ; " +
    'echo $! > "$2/cgroup.procs"; wait';
  const { stdout } = await mustRun(["sh", "-c", script, "sh", String(pid), cgroup]);
  return Number(stdout) === pid;
}
