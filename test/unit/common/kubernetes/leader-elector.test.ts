import { expect } from "chai";

import { systemClock } from "../../../../common/clock.ts";
import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { LeaderElector } from "../../../../common/kubernetes/leader-elector.ts";
import { RESOURCES } from "../../../../common/kubernetes/resources.ts";
import { createLogger } from "../../../../common/log.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";

// leaseDurationSeconds has whole seconds, so a lease cannot be shorter.
const TIMES = { leaseMs: 1000, renewMs: 700, retryMs: 40 };
const DAY_MS = 86_400_000;

interface Contender {
  readonly elector: LeaderElector;
  readonly log: string[];
}

describe("LeaderElector", function () {
  let server: FakeApiServer;
  let clients: ApiClient[];
  let electors: LeaderElector[];

  function contend(identity: string, wallClock = (): Date => new Date()): Contender {
    const api = new ApiClient(server.access);
    const log: string[] = [];
    const elector = new LeaderElector({
      api,
      namespace: "shimmy-system",
      name: "shimmy-master",
      identity,
      onLeading: () => log.push("leading"),
      onLost: () => log.push("lost"),
      clock: systemClock,
      log: createLogger({ process: "test", level: "silent" }),
      wallClock,
      times: TIMES,
    });
    clients.push(api);
    electors.push(elector);
    elector.start();
    return { elector, log };
  }

  function holder(): unknown {
    const lease = server.get(RESOURCES.leases, "shimmy-master", "shimmy-system");
    return (lease?.["spec"] as { holderIdentity?: string } | undefined)?.holderIdentity;
  }

  async function leads({ elector }: Contender): Promise<void> {
    await eventually("a leader", () => elector.isLeading);
  }

  beforeEach(async function () {
    server = await FakeApiServer.start();
    clients = [];
    electors = [];
  });

  afterEach(async function () {
    for (const elector of electors) await elector.close();
    for (const client of clients) await client.close();
    await server.close();
  });

  it("should make one of two that start together the leader, and keep it so (I3)", async function () {
    const [a, b] = [contend("a"), contend("b")];
    await eventually("a leader", () => a.elector.isLeading || b.elector.isLeading);
    const end = performance.now() + TIMES.leaseMs * 1.5;
    while (performance.now() < end) {
      expect(a.elector.isLeading && b.elector.isLeading).to.equal(false);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect([a.log, b.log].sort()).to.deep.equal([[], ["leading"]]);
  });

  it("should let another lead at once when the leader gives up in order", async function () {
    const a = contend("a");
    await leads(a);
    const b = contend("b");
    await eventually("b to see a", () => b.elector.leader === "a");
    const begun = performance.now();
    await a.elector.close();
    expect(holder()).to.be.oneOf(["", "b"]);
    await leads(b);
    expect(performance.now() - begun).to.be.lessThan(TIMES.leaseMs);
    expect(a.log).to.deep.equal(["leading"]);
    const lease = server.get(RESOURCES.leases, "shimmy-master", "shimmy-system");
    expect(lease?.["spec"]).to.include({ holderIdentity: "b", leaseTransitions: 2 });
  });

  it("should let another take over a lease that nobody renews, not earlier", async function () {
    const metadata = { name: "shimmy-master", namespace: "shimmy-system" };
    const spec = { holderIdentity: "dead", leaseDurationSeconds: 1 };
    server.put(RESOURCES.leases, { metadata, spec });
    const begun = performance.now();
    await leads(contend("b"));
    expect(performance.now() - begun).to.be.greaterThan(TIMES.leaseMs - 5);
  });

  for (const skewMs of [-DAY_MS, DAY_MS]) {
    it(`should not look at times of day (I1): one is ${skewMs} ms off`, async function () {
      const a = contend("a", () => new Date(Date.now() + skewMs));
      await leads(a);
      const b = contend("b");
      await new Promise((resolve) => setTimeout(resolve, TIMES.leaseMs * 1.3));
      expect(a.elector.isLeading).to.equal(true);
      expect(b.log).to.deep.equal([]);
    });
  }

  it("should stop leading when it cannot renew, before another may lead (I2)", async function () {
    const a = contend("a");
    await leads(a);
    const b = contend("b");
    await eventually("b to see a", () => b.elector.leader === "a");
    let lostAt = 0;
    server.intercept = ({ body, authorization }) => {
      if (a.elector.isLeading) return failure(500, "InternalError", "no");
      lostAt ||= performance.now();
      expect([body, authorization]).to.have.length(2);
      return undefined;
    };
    await eventually("the end", () => a.log.includes("lost"));
    await leads(b);
    expect(lostAt).to.be.greaterThan(0);
    expect(a.elector.isLeading).to.equal(false);
    expect(a.log).to.deep.equal(["leading", "lost"]);
    expect(b.log).to.deep.equal(["leading"]);
  });

  it("should stop leading also when the server does not answer at all", async function () {
    const a = contend("a");
    await leads(a);
    server.intercept = () => "hang";
    await eventually("the end", () => a.log.includes("lost"));
    expect(a.elector.isLeading).to.equal(false);
  });

  it("should go on leading through a few failed renewals", async function () {
    const a = contend("a");
    await leads(a);
    let failures = 4;
    server.intercept = () =>
      failures-- > 0 ? failure(503, "ServiceUnavailable", "no") : undefined;
    await eventually("another renewal", () => failures < -2);
    expect(a.elector.isLeading).to.equal(true);
    expect(a.log).to.deep.equal(["leading"]);
  });

  it("should stop at once when somebody else is written into the lease", async function () {
    const a = contend("a");
    await leads(a);
    const metadata = { name: "shimmy-master", namespace: "shimmy-system" };
    server.put(RESOURCES.leases, { metadata, spec: { holderIdentity: "b" } });
    const begun = performance.now();
    await eventually("the end", () => a.log.includes("lost"));
    expect(performance.now() - begun).to.be.lessThan(TIMES.renewMs);
  });

  it("should lead again under its own name at once", async function () {
    const metadata = { name: "shimmy-master", namespace: "shimmy-system" };
    server.put(RESOURCES.leases, { metadata, spec: { holderIdentity: "a" } });
    const begun = performance.now();
    await leads(contend("a"));
    expect(performance.now() - begun).to.be.lessThan(TIMES.leaseMs);
  });
});
