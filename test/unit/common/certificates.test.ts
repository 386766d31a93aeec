import { expect } from "chai";

import { certificatesOf } from "../../../common/certificates.ts";
import { issueAuthority } from "../../../master/certificates/issue.ts";

describe("certificatesOf()", function () {
  it("should read all in their order, and leave out what is none", async function () {
    const validity = { nowMs: Date.now(), lifeMs: 60_000 };
    const [a, b] = await Promise.all([
      issueAuthority("a", validity),
      issueAuthority("b", validity),
    ]);
    const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const found = certificatesOf(`words\n${a.cert}${broken}${a.key}${b.cert}`);
    expect(found.map(({ subject }) => subject)).to.deep.equal(["CN=a", "CN=b"]);
    expect(certificatesOf("")).to.deep.equal([]);
  });
});
