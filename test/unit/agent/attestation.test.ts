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

  it("should refuse everybody while no cgroup is known", function () {
    if (pod === undefined) throw new Error("no pod");
    const byCgroup = { ...pod, identity: { kind: "pod" } } as const;
    for (const uid of [0, 7]) {
      expect(attest(byCgroup, { pid: 1, uid })?.code).to.equal("SHIMMY_ERR_NOT_ATTESTED");
    }
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

describe("admitOperator()", function () {
  it("should accept root and the agent's own user only", function () {
    const own = process.geteuid?.() ?? 0;
    expect(admitOperator({ pid: 1, uid: 0 })).to.equal(undefined);
    expect(admitOperator({ pid: 1, uid: own })).to.equal(undefined);
    expect(admitOperator({ pid: 1, uid: own + 1 })?.code).to.equal("SHIMMY_ERR_NOT_ATTESTED");
  });
});
