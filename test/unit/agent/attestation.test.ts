import { expect } from "chai";

import { admitOperator, attest } from "../../../agent/attestation.ts";
import { catalogOf } from "./fakes.ts";

describe("attest()", function () {
  const pod = catalogOf("pods: [{ name: a, address: ::1, runAs: [7, 8] }]").pods.get("default.a");

  it("should accept the users the catalog names, whatever their process", function () {
    if (pod === undefined) throw new Error("no pod");
    expect(attest(pod, { pid: 1, uid: 8 })).to.equal(undefined);
    expect(attest(pod, { pid: 0, uid: 7 })).to.equal(undefined);
  });

  it("should refuse others, root included, with SHIMMY_ERR_NOT_ATTESTED", function () {
    if (pod === undefined) throw new Error("no pod");
    for (const uid of [0, 9, 4_294_967_295]) {
      const error = attest(pod, { pid: 1, uid });
      expect(error?.code).to.equal("SHIMMY_ERR_NOT_ATTESTED");
      expect(error?.message).to.equal(`user ${uid} may not be pod default/a, whose runAs is 7, 8`);
    }
  });
});

describe("attest() by cgroup", function () {
  const UID = "2c48913c-b29f-11e7-9350-020968147796";
  const OTHER = "b33b9af4-e0c2-4f5e-8c37-1f9f3f2f4e0b";

  function refusalOf(cgroup?: () => string): string | undefined {
    const pod = catalogOf(`pods: [{ name: a, uid: ${UID}, address: ::1 }]`).pods.get(UID);
    if (pod === undefined) throw new Error("no pod");
    const peer = { pid: 42, uid: 0, ...(cgroup === undefined ? {} : { cgroup }) };
    const error = attest({ ...pod, identity: { kind: "pod" } }, peer);
    if (error !== undefined) expect(error.code).to.equal("SHIMMY_ERR_NOT_ATTESTED");
    return error?.message;
  }

  it("should accept a process of the pod, whatever its user", function () {
    expect(refusalOf(() => `0::/kubepods/pod${UID}/x\n`)).to.equal(undefined);
  });

  it("should refuse a process of another pod", function () {
    const message = refusalOf(() => `0::/kubepods/pod${OTHER}/x\n`);
    expect(message).to.equal(`process 42 is of pod ${OTHER}, this is the socket of default/a`);
  });

  it("should refuse a process of no pod", function () {
    const message = refusalOf(() => "0::/system.slice/sshd.service\n");
    expect(message).to.equal("process 42 is of no pod, this is the socket of default/a");
  });

  it("should refuse a process whose cgroup names two pods", function () {
    const message = refusalOf(() => `0::/kubepods/pod${OTHER}/kubepods/pod${UID}\n`);
    expect(message).to.match(/^process 42 is not pod default\/a: .* is below pod /);
  });

  it("should refuse a process that has ended, or cannot be seen", function () {
    const message = refusalOf(() => {
      throw new Error("ESRCH");
    });
    expect(message).to.match(/^process 42 cannot be known for one of pod default\/a: ESRCH$/);
    expect(refusalOf()).to.match(/^no cgroup says/);
  });
});

describe("admitOperator()", function () {
  it("should accept root and the agent's own user only", function () {
    const own = process.geteuid?.() ?? 0;
    expect(admitOperator({ pid: 1, uid: 0 })).to.equal(undefined);
    expect(admitOperator({ pid: 1, uid: own })).to.equal(undefined);
    expect(admitOperator({ pid: 1, uid: own + 1 })?.code).to.equal("SHIMMY_ERR_NOT_ATTESTED");
  });
});
