import { expect } from "chai";

import {
  encodeMessage,
  EndpointsCollector,
  parseAgentMessage,
  splitEndpoints,
  type EndpointsMessage,
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
