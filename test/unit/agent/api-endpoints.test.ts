import { expect } from "chai";

import {
  encodeMessage,
  EndpointsCollector,
  parseAgentMessage,
  splitEndpoints,
  toVersion1,
  type EndpointPort,
  type EndpointsMessage,
  type ServiceEndpoint,
  type ServiceEndpoints,
} from "../../../agent/api.ts";

function service(name: string, endpoints: number): ServiceEndpoints {
  return {
    service: `default/${name}`,
    ports: [{ name: "http", port: 80, targetPort: 8080 }],
    endpoints: Array.from({ length: endpoints }, (_, index) => ({
      pod: `${"p".repeat(180)}${index}`,
      address: "2001:db8::ffff",
      node: "n".repeat(253),
      injected: true,
      transport: "shm",
    })),
  };
}

describe("splitEndpoints()", function () {
  it("should send nothing for no services", function () {
    expect(splitEndpoints([])).to.deep.equal([]);
  });

  it("should put small services into one message", function () {
    expect(splitEndpoints([service("a", 1), service("b", 0)])).to.have.length(1);
  });

  it("should keep every message within one record, and lose nothing", function () {
    const services = [service("a", 1), service("b", 1000), service("c", 64), service("d", 0)];
    const collector = new EndpointsCollector();
    const received = splitEndpoints(services).flatMap((message) =>
      collector.add(parseAgentMessage(encodeMessage(message)) as EndpointsMessage),
    );
    expect(received).to.deep.equal(services);
  });
});

describe("splitEndpoints() with ports of single endpoints", function () {
  it("should keep messages within one record where every port of every endpoint is told", function () {
    const ports = Array.from({ length: 64 }, (_, index): EndpointPort => ({
      port: 65_000 + index,
      targetPort: 65_000 + index,
      transport: "tcp",
      reason: "other_node_no_fabric",
    }));
    const plain = service("a", 100);
    const large: ServiceEndpoints = {
      ...plain,
      problem: "p".repeat(512),
      endpoints: plain.endpoints.map((endpoint) => ({ ...endpoint, ports })),
    };
    const collector = new EndpointsCollector();
    const received = splitEndpoints([large]).flatMap((message) =>
      collector.add(parseAgentMessage(encodeMessage(message)) as EndpointsMessage),
    );
    expect(received).to.deep.equal([large]);
  });
});

describe("toVersion1()", function () {
  const [usual] = service("a", 1).endpoints as [ServiceEndpoint];
  const http: EndpointPort = { port: 80, targetPort: 8080, transport: "shm" };
  const denied: EndpointPort = { ...http, transport: "tcp", reason: "policy_denied" };

  function told(endpoint: ServiceEndpoint): readonly ServiceEndpoint[] {
    return toVersion1({ ...service("a", 0), endpoints: [endpoint] }).endpoints;
  }

  it("should leave alone what version 1 has", function () {
    expect(toVersion1(service("a", 3))).to.deep.equal(service("a", 3));
  });

  it("should drop the sentence", function () {
    expect(toVersion1({ ...service("a", 0), problem: "none" })).to.deep.equal(service("a", 0));
  });

  it("should send an endpoint over TCP where one of its ports has to be", function () {
    expect(told({ ...usual, ports: [denied] })).to.deep.equal([
      { ...usual, transport: "tcp", reason: "policy_denied" },
    ]);
    expect(told({ ...usual, ports: [http] })).to.deep.equal([usual]);
  });

  it("should leave out an endpoint that would be called at another's port", function () {
    expect(told({ ...usual, ports: [{ ...http, targetPort: 8081 }] })).to.deep.equal([]);
    expect(told({ ...usual, ports: [] })).to.deep.equal([]);
  });
});

describe("EndpointsCollector#add()", function () {
  it("should refuse parts of another service in between", function () {
    const collector = new EndpointsCollector();
    collector.add({ type: "endpoints", services: [{ ...service("a", 1), more: true }] });
    expect(() => collector.add({ type: "endpoints", services: [service("b", 1)] }))
      .to.throw()
      .with.property("code", "SHIMMY_ERR_PROTOCOL");
  });

  it("should not grow without end", function () {
    const collector = new EndpointsCollector();
    const part: EndpointsMessage = {
      type: "endpoints",
      services: [{ ...service("a", 64), more: true }],
    };
    expect(() => {
      for (let i = 0; i < 1000; i++) collector.add(part);
    }).to.throw(/more than 8192 endpoints/);
  });
});
