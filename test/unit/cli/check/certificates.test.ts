import { expect } from "chai";

import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { testCases, useCluster, type Case } from "./cases.ts";
import { makeCertificates, putCertificates, SYSTEM } from "./healthy.ts";

const DAY_MS = 86_400_000;
const nothing = (): void => undefined;

const CASES: readonly Case[] = [
  {
    what: "no certificate",
    check: "certificates",
    status: "fail",
    says: "there is no Secret shimmy-system/shimmy-injector-tls",
    change: (server) => {
      server.delete(KINDS.secrets, NAMES.injectorTls, SYSTEM);
    },
  },
  {
    what: "a Secret without a certificate",
    check: "certificates",
    status: "fail",
    says: "has no certificate",
    change: (server) => {
      server.put(KINDS.secrets, { metadata: { name: NAMES.injectorTls, namespace: SYSTEM } });
    },
  },
  {
    what: "a certificate that has ended",
    check: "certificates",
    status: "fail",
    says: "the injector's certificate ended on",
    change: nothing,
    nowMs: 31 * DAY_MS,
  },
  {
    what: "a certificate whose renewal is overdue",
    check: "certificates",
    status: "warn",
    says: "renewal is overdue",
    change: nothing,
    nowMs: 26 * DAY_MS,
  },
  {
    what: "no CA at the API server",
    check: "certificates",
    status: "fail",
    says: "no CA for the webhook pods.injector.shimmy.io",
    change: (server) => {
      server.put(KINDS.mutatingWebhooks, {
        metadata: { name: NAMES.injector },
        webhooks: [{ name: "pods.injector.shimmy.io", clientConfig: {} }],
      });
    },
  },
  {
    what: "no webhook configuration",
    check: "certificates",
    status: "fail",
    says: "MutatingWebhookConfiguration shimmy-injector is not there",
    change: (server) => {
      server.delete(KINDS.mutatingWebhooks, NAMES.injector);
    },
  },
];

testCases("shimmy check: certificates", CASES);

describe("shimmy check: certificates that do not match", function () {
  const tests = useCluster();

  it("should say that the CA of the API server is another one", async function () {
    const { leaf } = makeCertificates(30);
    putCertificates(tests.server(), { ca: tests.certificates().ca, leaf });
    const findings = await tests.run();
    expect(findings.map(({ message }) => message)).to.include(
      "the CA that the API server has for pods.injector.shimmy.io is not that of the injector",
    );
  });
});
