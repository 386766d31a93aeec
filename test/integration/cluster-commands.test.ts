// `shimmy check`, `shimmy top --node` and `shimmy uninstall` as a person runs them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { KINDS } from "../../cli/cluster/kinds.ts";
import { eventually } from "../helpers/eventually.ts";
import { FakeApiServer } from "../helpers/fake-api-server.ts";
import { runProgram, type ProgramResult } from "../helpers/run-program.ts";
import { apiBehaviour, makeCertificates, putHealthyCluster } from "../unit/cli/check/healthy.ts";

const MAIN = join(import.meta.dirname, "../../cli/main.ts");

describe("commands for a cluster", function () {
  let server: FakeApiServer;
  let directory: string;

  before(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-cluster-"));
  });

  beforeEach(async function () {
    server = await FakeApiServer.start();
    putHealthyCluster(server, makeCertificates(30));
    server.intercept = apiBehaviour();
    writeKubeconfig(server.access.server);
  });

  afterEach(async function () {
    await server.close();
  });

  after(function () {
    rmSync(directory, { recursive: true });
  });

  function writeKubeconfig(address: string, user: object = { token: "t" }): void {
    const config = {
      "current-context": "c",
      contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
      clusters: [{ name: "c", cluster: { server: address } }],
      users: [{ name: "u", user }],
    };
    writeFileSync(join(directory, "config"), JSON.stringify(config));
  }

  function shimmy(...words: readonly string[]): Promise<ProgramResult> {
    const env = { KUBECONFIG: join(directory, "config") };
    return runProgram([process.execPath, MAIN, ...words], { env });
  }

  describe("shimmy check", function () {
    it("should end with 0 where all is well, a line for each thing", async function () {
      const { code, stdout, stderr } = await shimmy("check");
      expect({ code, stderr }).to.deep.equal({ code: 0, stderr: "" });
      expect(stdout).to.match(/^Kubernetes\n {2}ok {4}the API server is v1\.34\.4\n/);
      expect(stdout).to.match(/\n\d+ ok\.\n$/);
    });

    it("should end with 1 where something fails, and say what to do", async function () {
      server.delete(KINDS.daemonSets, "shimmy-agent", "shimmy-system");
      const { code, stdout } = await shimmy("check");
      expect(code).to.equal(1);
      expect(stdout).to.match(/\n {2}FAIL {2}the DaemonSet .+ is not there\n {8}-> install Shimmy/);
      expect(stdout).to.match(/\n1 failed, \d+ ok\.\n$/);
    });

    it("should print JSON", async function () {
      const { code, stdout } = await shimmy("check", "--pre", "--output", "json");
      const report = JSON.parse(stdout) as { phase: string; ok: boolean; findings: object[] };
      expect(code).to.equal(0);
      expect(report).to.include({ phase: "before", ok: true });
      expect(report.findings[0]).to.have.keys("section", "check", "status", "message");
    });

    it("should wait until nothing fails", async function () {
      server.delete(KINDS.leases, "shimmy-master", "shimmy-system");
      const result = shimmy("check", "--wait", "20");
      await eventually("a look", () => server.seen("GET", "leases").length > 0);
      server.put(KINDS.leases, {
        metadata: { name: "shimmy-master", namespace: "shimmy-system" },
        spec: { holderIdentity: "m2", renewTime: new Date().toISOString() },
      });
      expect((await result).code).to.equal(0);
    });

    it("should say in a sentence that the API server does not answer", async function () {
      writeKubeconfig("https://127.0.0.1:1");
      const { code, stdout } = await shimmy("check");
      expect(code).to.equal(1);
      expect(stdout).to.match(/FAIL {2}the API server https:\/\/127\.0\.0\.1:1 does not answer: /);
    });
  });

  it("should say in a sentence that the login failed", async function () {
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "./no-such-login" };
    writeKubeconfig(server.access.server, { exec });
    const { code, stderr } = await shimmy("check");
    expect(code).to.equal(2);
    expect(stderr).to.match(/^shimmy: login plugin \.\/no-such-login of the kubeconfig: .+ENOENT/);
  });

  describe("shimmy top", function () {
    it("should say in a sentence that there is no such node", async function () {
      const { code, stdout, stderr } = await shimmy("top", "--node", "n2");
      expect({ code, stdout }).to.deep.equal({ code: 1, stdout: "" });
      expect(stderr).to.match(/^shimmy: there is no node n2; did you mean "n1"\? \(SHIMMY_ERR_/);
    });

    it("should show the table of a node", async function () {
      const behaviour = server.intercept;
      const health = { node: "n1", status: "ok", version: "0.1.0", uptimeSeconds: 5 };
      server.intercept = (request) => {
        const [, view] = /:14790\/proxy\/v1\/(\w+)$/.exec(request.path) ?? [];
        if (view === "health") {
          return { status: 200, body: { ...health, catalog: {}, failedPods: [] } };
        }
        const pod = { uid: "w", namespace: "shop", name: "web-1", injected: true };
        if (view === "pods") return { status: 200, body: { pods: [pod] } };
        return view === undefined ? behaviour(request) : { status: 200, body: { [view]: [] } };
      };
      const { code, stdout, stderr } = await shimmy("top", "--node", "n1");
      expect(code, stderr).to.equal(0);
      expect(stdout).to.include("shimmy 0.1.0, node n1, agent ok for 5 s, 1 pods");
      expect(stdout).to.match(/\nshop\/web-1 +away/);
    });
  });

  describe("shimmy uninstall", function () {
    it("should say what it would do, and change nothing", async function () {
      const { code, stdout } = await shimmy("uninstall", "--dry-run", "--force");
      expect(code).to.equal(0);
      expect(stdout).to.include("would delete daemonset shimmy-system/shimmy-agent");
      expect(server.requests.every(({ method }) => method === "GET")).to.equal(true);
    });

    it("should stop with 1 while pods have a sidecar", async function () {
      const { code, stderr } = await shimmy("uninstall", "--timeout", "5");
      expect(code).to.equal(1);
      expect(stderr).to.match(/^shimmy: pods still have a sidecar.+SHIMMY_ERR_TIMEOUT\)\n$/);
      expect(server.get(KINDS.daemonSets, "shimmy-agent", "shimmy-system")).to.not.equal(undefined);
    });
  });

  for (const command of ["check", "top", "uninstall"]) {
    it(`should explain ${command}`, async function () {
      const { code, stdout } = await shimmy(command, "--help");
      expect(code).to.equal(0);
      expect(stdout).to.include(`Usage: shimmy ${command}`).and.include("Examples:");
    });
  }

  for (const words of [
    ["check", "--wait", "soon"],
    ["check", "--output", "xml"],
    ["uninstall", "--timeout", "0"],
  ]) {
    it(`should refuse ${words.join(" ")} with 2`, async function () {
      const { code, stderr } = await shimmy(...words);
      expect(code).to.equal(2);
      expect(stderr).to.match(/^shimmy: .+ \(SHIMMY_ERR_INVALID_CONFIG\)\n$/);
    });
  }
});
