import { expect } from "chai";

import type { ServiceEndpoints } from "../../../agent/api.ts";
import { statusError } from "../../../shm-core/lib/status.ts";
import { parseUpstreams, qualifyUpstreams } from "../../../sidecar/upstreams.ts";
import { UpstreamSet } from "../../../sidecar/upstream-set.ts";
import { captureLog, FakeRelay } from "./fakes.ts";

const EADDRINUSE = -98;
const EADDRNOTAVAIL = -99;
const EAFNOSUPPORT = -97;

const WEB: ServiceEndpoints = {
  service: "default/web",
  ports: [{ name: "http", port: 80, targetPort: 8080 }],
  endpoints: [
    { pod: "web-1", address: "127.0.1.3", node: "laptop", injected: true, transport: "shm" },
  ],
};

describe("UpstreamSet", function () {
  let relay: FakeRelay;
  let events: Record<string, unknown>[];

  function bind(text: string, addresses = ["127.0.0.1", "::1"]): UpstreamSet {
    const captured = captureLog();
    events = captured.events;
    return UpstreamSet.bind({
      upstreams: qualifyUpstreams(parseUpstreams(text), "default"),
      addresses,
      cap: "auto",
      relay,
      log: captured.log,
    });
  }

  function failIPv6(errno: number): void {
    relay.refuse = ({ address }) =>
      address === "::1" ? statusError(errno, "listen on ::1 port 9001") : undefined;
  }

  beforeEach(function () {
    relay = new FakeRelay();
  });

  it("should listen on every address for each upstream", function () {
    bind("web:9001, quotes.md:9002");
    expect(relay.listeners.map(({ address, port }) => `${address} ${port}`)).to.deep.equal([
      "127.0.0.1 9001",
      "::1 9001",
      "127.0.0.1 9002",
      "::1 9002",
    ]);
  });

  for (const errno of [EADDRNOTAVAIL, EAFNOSUPPORT]) {
    it(`should leave ::1 out when IPv6 is off (errno ${errno}), and say so once`, function () {
      failIPv6(errno);
      bind("web:9001, quotes:9002");
      expect(relay.listeners).to.have.length(2);
      expect(events.filter(({ address }) => address === "::1")).to.have.length(1);
    });
  }

  it("should fail when IPv6 is off and nothing else is asked for", function () {
    failIPv6(EADDRNOTAVAIL);
    expect(() => bind("web:9001", ["::1"]))
      .to.throw("upstream default/web: none of ::1 can be listened on, IPv6 is off")
      .with.property("code", "SHIMMY_ERR_ADDRESS_NOT_AVAILABLE");
  });

  it("should name the upstream when its port is taken", function () {
    relay.refuse = () => statusError(EADDRINUSE, "listen on 127.0.0.1 port 9001");
    expect(() => bind("web:9001"))
      .to.throw("upstream default/web: listen on 127.0.0.1 port 9001: EADDRINUSE")
      .with.property("code", "SHIMMY_ERR_ADDRESS_IN_USE");
  });

  it("should set the endpoints of every listener of every upstream of a service", function () {
    const set = bind("web:9001, web:9002?port=http, quotes:9003");
    expect(set.services).to.deep.equal(["default/web", "default/quotes"]);
    set.setEndpoints([WEB, { ...WEB, service: "default/not-asked-for" }]);
    const endpoints = [...relay.upstreams.values()].map((upstream) => upstream.endpoints.length);
    expect(endpoints).to.deep.equal([1, 1, 1, 1, 0, 0]);
    expect(set.unknown().map(({ service }) => service)).to.deep.equal(["default/quotes"]);
  });

  it("should use addresses only until the agent has spoken", function () {
    const set = bind("web:9001?port=80");
    const [upstream] = set.unknown();
    if (upstream === undefined) throw new Error("no upstream");
    set.setAddresses(upstream, 80, ["10.0.0.1"]);
    expect(set.states()[0]?.current.table.endpoints[0]?.address).to.equal("10.0.0.1");
    set.setEndpoints([WEB]);
    set.setAddresses(upstream, 80, ["10.0.0.1"]);
    set.setProblem(upstream, "not known");
    expect(set.states()[0]?.current.table.endpoints[0]?.address).to.equal("127.0.1.3");
  });

  it("should tell of a problem once, and of its end", function () {
    const set = bind("web:9001");
    const gone = { ...WEB, ports: [], endpoints: [] };
    set.setEndpoints([gone]);
    set.setEndpoints([gone]);
    set.setEndpoints([WEB]);
    expect(events.map(({ msg }) => msg)).to.deep.equal([
      "upstream cannot be called",
      "upstream can be called",
    ]);
    expect(events[0]).to.include({ problem: "service default/web does not exist" });
  });
});
