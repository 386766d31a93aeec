import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { Claims, type Claim } from "../../../../agent/channels/claims.ts";
import { resolveParameters } from "../../../../agent/channels/parameters.ts";

const CLAIM: Claim = {
  pod: "default.a",
  role: "producer",
  channel: { topic: "default/jobs", id: "7", ...resolveParameters({ kind: "lock" }) },
};

describe("Claims", function () {
  let directory: string;

  beforeEach(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-claims-"));
  });

  afterEach(function () {
    rmSync(directory, { recursive: true });
  });

  it("should know its own word after a restart, and a name only once", async function () {
    const before = await Claims.open(directory);
    const name = before.name(CLAIM);
    expect(name).to.match(/^[A-Za-z0-9_.-]{1,64}$/);
    expect(before.name(CLAIM)).to.not.equal(name);
    expect((await Claims.open(directory)).verify(name, CLAIM)).to.equal(true);
  });

  it("should not know what it did not say", async function () {
    const claims = await Claims.open(directory);
    const name = claims.name(CLAIM);
    const others: Claim[] = [
      { ...CLAIM, pod: "default.b" },
      { ...CLAIM, role: "consumer" },
      ...(["topic", "id", "blocks", "blockBytes", "maxLoans"] as const).map((key) => ({
        ...CLAIM,
        channel: { ...CLAIM.channel, [key]: "8" },
      })),
    ];
    for (const other of others) expect(claims.verify(name, other)).to.equal(false);
    for (const forged of ["", ".", "a", `${name}x`, name.slice(0, -1), `x${name}`]) {
      expect(claims.verify(forged, CLAIM), forged).to.equal(false);
    }
  });

  it("should keep its key to itself, and make another when that is gone or cut", async function () {
    const name = (await Claims.open(directory)).name(CLAIM);
    const path = join(directory, "channels.key");
    expect(statSync(path).mode & 0o777).to.equal(0o600);
    writeFileSync(path, readFileSync(path).subarray(1));
    expect((await Claims.open(directory)).verify(name, CLAIM)).to.equal(false);
    expect(readFileSync(path)).to.have.length(32);
  });

  it("should say when it cannot be kept", async function () {
    const refusal = await Claims.open(join(directory, "none")).catch((err: unknown) => err);
    expect(refusal).to.have.property("code", "SHIMMY_ERR_RUNTIME_DIR");
  });
});
