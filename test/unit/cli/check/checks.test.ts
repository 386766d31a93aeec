import { expect } from "chai";

import { runChecks } from "../../../../cli/check/checks.ts";
import { CheckContext } from "../../../../cli/check/context.ts";
import { Cluster } from "../../../../cli/cluster/cluster.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import { useCluster } from "./cases.ts";
import { apiBehaviour, putNode, SYSTEM } from "./healthy.ts";

describe("runChecks()", function () {
  const tests = useCluster();

  it("should find nothing wrong where all is well", async function () {
    const findings = await tests.run();
    expect(findings.filter(({ status }) => status !== "ok")).to.deep.equal([]);
    expect(new Set(findings.map(({ check }) => check))).to.have.property("size", 15);
  });

  it("should find nothing in the way of an installation into an empty cluster", async function () {
    const empty = await FakeApiServer.start();
    putNode(empty, "n1");
    empty.intercept = apiBehaviour();
    const other = new ApiClient(empty.access);
    const context = new CheckContext(new Cluster(other, empty.access.server), {
      namespace: SYSTEM,
      trialNamespace: "default",
      now: Date.now,
      version: "0.1.0",
    });
    const findings = await runChecks(context, "before");
    await other.close();
    await empty.close();
    expect(findings.map(({ check, status }) => [check, status])).to.deep.equal([
      ["version", "ok"],
      ["nodes", "ok"],
      ["kubelets", "ok"],
      ["permissions", "ok"],
      ["pod-security", "ok"],
      ["absent", "ok"],
    ]);
  });

  it("should stop when the API server does not answer", async function () {
    tests.server().intercept = () => "drop";
    const findings = await tests.run();
    expect(findings).to.have.length(1);
    expect(findings[0]).to.include({ check: "version", status: "fail" });
    expect(findings[0]?.message).to.include(`${tests.server().access.server} does not answer`);
  });

  it("should stop when the API server does not know the user", async function () {
    tests.server().intercept = () => failure(401, "Unauthorized", "Unauthorized");
    const findings = await tests.run();
    expect(findings.map(({ message }) => message)).to.deep.equal([
      `the API server ${tests.server().access.server} does not accept your credentials`,
    ]);
  });

  for (const part of ["secrets", "pods", "nodes", "shimmynodes", "leases", "deployments"]) {
    it(`should go on when ${part} may not be read, and say what was not checked`, async function () {
      const behaviour = apiBehaviour();
      tests.server().intercept = (request) =>
        request.method === "GET" && request.path.split("/").includes(part)
          ? failure(403, "Forbidden", `${part} is forbidden`)
          : behaviour(request);
      const findings = await tests.run();
      const missed = findings.filter(({ status }) => status === "unknown");
      expect(missed.length, JSON.stringify(findings)).to.be.greaterThan(0);
      expect(findings.some(({ status }) => status === "fail")).to.equal(false);
      for (const { todo } of missed) expect(todo).to.be.a("string");
    });
  }
});
