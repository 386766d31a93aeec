/** Checks of a cluster in which all is well but for one thing. */
import { expect } from "chai";

import { runChecks, type CheckPhase } from "../../../../cli/check/checks.ts";
import { CheckContext } from "../../../../cli/check/context.ts";
import type { CheckFinding, CheckStatus } from "../../../../cli/check/finding.ts";
import { Cluster } from "../../../../cli/cluster/cluster.ts";
import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { FakeApiServer } from "../../../helpers/fake-api-server.ts";
import {
  apiBehaviour,
  makeCertificates,
  putHealthyCluster,
  SYSTEM,
  type ApiBehaviour,
  type TestCertificates,
} from "./healthy.ts";

/** One thing that is wrong, and what is said of it. */
export interface Case {
  readonly what: string;
  readonly check: string;
  readonly status: CheckStatus;
  /** Part of the message. */
  readonly says: string;
  /** Part of what to do. */
  readonly todo?: string;
  readonly phase?: CheckPhase;
  readonly change: (server: FakeApiServer) => void;
  readonly behaviour?: ApiBehaviour;
  readonly nowMs?: number;
}

/** A cluster for each test; see {@link useCluster}. */
export interface CheckTests {
  readonly server: () => FakeApiServer;
  readonly certificates: () => TestCertificates;
  readonly run: (phase?: CheckPhase, laterMs?: number) => Promise<CheckFinding[]>;
}

/** To be called in a `describe()`: makes a cluster in which all is well before each test. */
export function useCluster(): CheckTests {
  let server: FakeApiServer;
  let api: ApiClient;
  let certificates: TestCertificates;
  /** When the certificates were made. */
  let madeAtMs: number;

  before(function () {
    certificates = makeCertificates(30);
    madeAtMs = Date.now();
  });

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    putHealthyCluster(server, certificates);
    const renewTime = new Date(madeAtMs - 1000).toISOString();
    server.put(KINDS.leases, {
      metadata: { name: NAMES.master, namespace: SYSTEM },
      spec: { holderIdentity: "m1", renewTime },
    });
    server.intercept = apiBehaviour();
  });

  afterEach(async function () {
    await api.close();
    await server.close();
  });

  function run(phase: CheckPhase = "after", laterMs = 0): Promise<CheckFinding[]> {
    const context = new CheckContext(new Cluster(api, server.access.server), {
      namespace: SYSTEM,
      trialNamespace: "default",
      now: () => madeAtMs + 1000 + laterMs,
      version: "0.1.0",
    });
    return runChecks(context, phase);
  }

  return { server: () => server, certificates: () => certificates, run };
}

/** A test for each case. */
export function testCases(name: string, cases: readonly Case[]): void {
  describe(name, function () {
    const tests = useCluster();
    for (const { what, check, status, says, todo, phase, change, behaviour, nowMs } of cases) {
      it(`should say ${status} of ${check} for ${what}`, async function () {
        change(tests.server());
        if (behaviour !== undefined) tests.server().intercept = apiBehaviour(behaviour);
        const findings = (await tests.run(phase, nowMs)).filter((each) => each.check === check);
        const found = findings.find(
          (each) => each.status === status && each.message.includes(says),
        );
        expect(found, JSON.stringify(findings, undefined, 1)).to.not.equal(undefined);
        if (status !== "ok")
          expect(found?.todo ?? "")
            .to.include(todo ?? "")
            .and.not.equal("");
      });
    }
  });
}
